#include "model/tokenizer.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/status_macros.h"
#include "model/byte_level_bpe.h"
#include "model/gguf_model.h"
#include "model/pre_tokenizer.h"
#include "model/tokenizer_added_tokens.h"
#include "model/tokenizer_config.h"
#include "model/tokenizer_json.h"
#include "model/tokenizer_unicode.h"

namespace esa {
namespace {

// Positions inside a piece are 32 bits wide; a word beyond this is cut, which no real text notices.
constexpr std::size_t kMaxPieceBytes = std::size_t{1} << 30;

// Running text has three to five bytes a token.
constexpr std::size_t kBytesPerToken = 3;

std::vector<AddedToken> Select(const std::vector<AddedToken>& tokens, bool normalized, bool nfc) {
  std::vector<AddedToken> selected;
  for (const auto& token : tokens) {
    if (token.normalized != normalized) continue;
    selected.push_back(token);
    if (!normalized || !nfc) continue;
    selected.back().content.clear();
    AppendNfc(token.content, &selected.back().content);
  }
  return selected;
}

}  // namespace

struct Tokenizer::Parts {
  Parts(TokenizerSpec spec, ByteLevelBpe model, PreTokenizer splitter);

  // What one call of Encode carries along.
  struct Encoding {
    const EncodeOptions& options;
    ByteLevelBpe::Scratch scratch;
    std::vector<std::int32_t> ids;
  };

  void EncodeText(std::string_view text, Encoding* encoding) const;
  void EncodeBetweenRaw(std::string_view text, Encoding* encoding) const;
  void EncodeWords(std::string_view text, Encoding* encoding) const;
  Status SetSpecial(const std::optional<std::string>& token, const std::string& field,
                    std::optional<std::int32_t>* id) const;

  ByteLevelBpe bpe;
  PreTokenizer pre_tokenizer;
  bool nfc = false;
  AddedTokenMatcher raw_tokens;
  AddedTokenMatcher normalized_tokens;
  std::unordered_map<std::int32_t, AddedToken> added;
  std::unordered_map<std::string, std::int32_t> added_ids;
  std::vector<std::int32_t> prefix_ids;
  std::vector<std::int32_t> suffix_ids;
  std::optional<std::int32_t> bos;
  std::optional<std::int32_t> eos;
  std::int32_t id_end = 0;
};

Tokenizer::Parts::Parts(TokenizerSpec spec, ByteLevelBpe model, PreTokenizer splitter)
    : bpe(std::move(model)),
      pre_tokenizer(std::move(splitter)),
      nfc(spec.nfc),
      raw_tokens(Select(spec.added_tokens, false, spec.nfc)),
      normalized_tokens(Select(spec.added_tokens, true, spec.nfc)),
      prefix_ids(std::move(spec.prefix_ids)),
      suffix_ids(std::move(spec.suffix_ids)),
      id_end(bpe.id_end()) {
  for (auto& token : spec.added_tokens) {
    id_end = std::max(id_end, token.id + 1);
    added_ids.emplace(token.content, token.id);
    added.emplace(token.id, std::move(token));
  }
}

void Tokenizer::Parts::EncodeText(std::string_view text, Encoding* encoding) const {
  for (std::size_t done = 0; done < text.size();) {
    const auto match = raw_tokens.FindNext(text, done, encoding->options.parse_special);
    EncodeBetweenRaw(text.substr(done, match.begin - done), encoding);
    if (match.token != nullptr) encoding->ids.push_back(match.token->id);
    done = match.end;
  }
}

void Tokenizer::Parts::EncodeBetweenRaw(std::string_view text, Encoding* encoding) const {
  std::string normalized;
  if (nfc) {
    AppendNfc(text, &normalized);
    text = normalized;
  }
  for (std::size_t done = 0; done < text.size();) {
    const auto match = normalized_tokens.FindNext(text, done, encoding->options.parse_special);
    EncodeWords(text.substr(done, match.begin - done), encoding);
    if (match.token != nullptr) encoding->ids.push_back(match.token->id);
    done = match.end;
  }
}

void Tokenizer::Parts::EncodeWords(std::string_view text, Encoding* encoding) const {
  if (text.empty()) return;
  pre_tokenizer.Split(text, [&](std::string_view piece) {
    for (std::size_t done = 0; done < piece.size(); done += kMaxPieceBytes) {
      bpe.Encode(piece.substr(done, kMaxPieceBytes), &encoding->scratch, &encoding->ids);
    }
  });
}

Status Tokenizer::Parts::SetSpecial(const std::optional<std::string>& token,
                                    const std::string& field,
                                    std::optional<std::int32_t>* id) const {
  if (!token) return {};
  const auto found = added_ids.find(*token);
  *id = found != added_ids.end() ? std::optional(found->second) : bpe.FindText(*token);
  if (*id) return {};
  return DataError(field + ": found \"" + *token + "\", expected a token of tokenizer.json");
}

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view json,
                                                       const std::string& file) {
  ESA_ASSIGN_OR_RETURN(TokenizerSpec spec, ParseTokenizerJson(json, file));
  ESA_ASSIGN_OR_RETURN(PreTokenizer splitter, PreTokenizer::Compile(spec.pre_tokenizer));
  auto bpe = ByteLevelBpe::Build(spec.model);
  if (!bpe) return Error{bpe.error().code, file + ": " + bpe.error().message};
  spec.model = {};
  auto parts = std::make_unique<Parts>(std::move(spec), std::move(*bpe), std::move(splitter));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(parts)));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::LoadGguf(const std::filesystem::path& path) {
  ESA_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  ESA_ASSIGN_OR_RETURN(const std::string json, GgufTokenizerJson(file));
  ESA_ASSIGN_OR_RETURN(auto tokenizer, FromJson(json, path.string()));
  ESA_ASSIGN_OR_RETURN(const GgufSpecials specials, ReadGgufSpecials(file));
  Parts& parts = *tokenizer->parts_;
  ESA_RETURN_IF_ERROR(parts.SetSpecial(specials.bos_token, path.string() + ": bos", &parts.bos));
  ESA_RETURN_IF_ERROR(parts.SetSpecial(specials.eos_token, path.string() + ": eos", &parts.eos));
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::filesystem::path& path) {
  if (IsGguf(path)) return LoadGguf(path);
  std::error_code error;
  const bool folder = std::filesystem::is_directory(path, error);
  const auto file = folder ? path / "tokenizer.json" : path;
  if (folder && !std::filesystem::exists(file, error)) {
    const bool sentence_piece = std::filesystem::exists(path / "tokenizer.model", error);
    return NotFound(file.string() + ": no such file" +
                    (sentence_piece ? ", found a tokenizer.model (SentencePiece)" : "") +
                    ", expected a byte-level BPE tokenizer.json");
  }
  ESA_ASSIGN_OR_RETURN(const std::string json, ReadTextFile(file));
  ESA_ASSIGN_OR_RETURN(auto tokenizer, FromJson(json, file.string()));
  const auto config_folder = file.parent_path();
  ESA_ASSIGN_OR_RETURN(const TokenizerConfig config, LoadTokenizerConfig(config_folder));
  Parts& parts = *tokenizer->parts_;
  const std::string config_file = (config_folder / "tokenizer_config.json").string();
  ESA_RETURN_IF_ERROR(parts.SetSpecial(config.bos_token, config_file + ": bos_token", &parts.bos));
  ESA_RETURN_IF_ERROR(parts.SetSpecial(config.eos_token, config_file + ": eos_token", &parts.eos));
  return tokenizer;
}

std::vector<std::int32_t> Tokenizer::Encode(std::string_view text,
                                            const EncodeOptions& options) const {
  Parts::Encoding encoding{.options = options, .scratch = {}, .ids = {}};
  encoding.ids.reserve(text.size() / kBytesPerToken + 8);
  const auto append = [&](const std::vector<std::int32_t>& ids) {
    if (options.add_special_tokens) {
      encoding.ids.insert(encoding.ids.end(), ids.begin(), ids.end());
    }
  };
  append(parts_->prefix_ids);
  parts_->EncodeText(text, &encoding);
  append(parts_->suffix_ids);
  return std::move(encoding.ids);
}

std::string Tokenizer::Decode(std::span<const std::int32_t> ids, bool skip_special) const {
  StreamDecoder decoder(*this, skip_special);
  std::string text;
  for (const std::int32_t id : ids) text += decoder.Push(id);
  return text + decoder.Flush();
}

std::string_view Tokenizer::TokenBytes(std::int32_t id) const {
  const auto added = parts_->added.find(id);
  return added != parts_->added.end() ? std::string_view(added->second.content)
                                      : parts_->bpe.BytesOf(id);
}

std::int32_t Tokenizer::vocab_size() const { return parts_->id_end; }

std::optional<std::int32_t> Tokenizer::TokenToId(std::string_view token) const {
  const auto added = parts_->added_ids.find(std::string(token));
  return added != parts_->added_ids.end() ? std::optional(added->second)
                                          : parts_->bpe.FindText(token);
}

std::optional<std::string> Tokenizer::IdToToken(std::int32_t id) const {
  const auto added = parts_->added.find(id);
  if (added != parts_->added.end()) return added->second.content;
  if (!parts_->bpe.Has(id)) return std::nullopt;
  return parts_->bpe.TextOf(id);
}

bool Tokenizer::is_special(std::int32_t id) const {
  const auto added = parts_->added.find(id);
  return added != parts_->added.end() && added->second.special;
}

std::optional<std::int32_t> Tokenizer::bos_id() const { return parts_->bos; }
std::optional<std::int32_t> Tokenizer::eos_id() const { return parts_->eos; }

std::string StreamDecoder::Push(std::int32_t id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  pending_.append(tokenizer_->TokenBytes(id));
  std::string text;
  pending_.erase(0, AppendValidUtf8(pending_, /*keep_truncated=*/true, &text));
  return text;
}

std::string StreamDecoder::Flush() {
  std::string text;
  AppendValidUtf8(pending_, /*keep_truncated=*/false, &text);
  pending_.clear();
  return text;
}

}  // namespace esa
