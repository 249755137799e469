#include "model/tokenizer_json.h"

#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "model/tokenizer_json_document.h"
#include "model/tokenizer_json_field.h"

namespace esa {
namespace {

using Json = nlohmann::json;

// A value of the document, and its name for messages.
struct Field {
  const Json& value;
  std::string name;

  Field Member(const std::string& member) const {
    return {JsonMember(value, member), name + "." + member};
  }
  Field Element(std::size_t index) const {
    return {value[index], name + "[" + std::to_string(index) + "]"};
  }
};

class SpecReader {
 public:
  explicit SpecReader(const std::string& file) : file_(file) {}

  Result<TokenizerSpec> Read(TokenizerDocument document) {
    const Json& root = document.rest;
    ESA_RETURN_IF_ERROR(ReadModel({JsonMember(root, "model"), "model"}, &document));
    ESA_RETURN_IF_ERROR(ReadNormalizer({JsonMember(root, "normalizer"), "normalizer"}));
    ESA_RETURN_IF_ERROR(ReadPreTokenizer({JsonMember(root, "pre_tokenizer"), "pre_tokenizer"}));
    if (!byte_level_) {
      return Fail({JsonMember(root, "pre_tokenizer"), "pre_tokenizer"}, "a ByteLevel at its end");
    }
    ESA_RETURN_IF_ERROR(ReadPostProcessor({JsonMember(root, "post_processor"), "post_processor"}));
    ESA_RETURN_IF_ERROR(ReadAddedTokens({JsonMember(root, "added_tokens"), "added_tokens"}));
    return std::move(spec_);
  }

 private:
  Error Fail(const Field& field, const std::string& expected) const {
    return FieldError(file_, field.name, field.value, expected);
  }

  // A boolean that may be absent.
  Result<bool> Bool(const Field& field, bool absent) const {
    if (field.value.is_null()) return absent;
    if (!field.value.is_boolean()) return Fail(field, "true or false");
    return field.value.get<bool>();
  }

  Result<std::int32_t> Id(const Field& field) const {
    const bool fits =
        field.value.is_number_unsigned() &&
        field.value.get<std::uint64_t>() < static_cast<std::uint64_t>(ByteLevelBpe::kMaxIds);
    if (!fits) {
      return Fail(field, "an id from 0 to " + std::to_string(ByteLevelBpe::kMaxIds - 1));
    }
    return field.value.get<std::int32_t>();
  }

  Status ReadModel(const Field& model, TokenizerDocument* document) {
    const Field type = model.Member("type");
    if (type.value != "BPE" && !type.value.is_null()) return Fail(type, "\"BPE\" (byte-level)");
    if (!document->has_vocab) return Fail(model.Member("vocab"), "an object of token: id");
    if (!document->has_merges) return Fail(model.Member("merges"), "an array of merges");
    ESA_RETURN_IF_ERROR(RejectForeignBpe(model));
    spec_.model = std::move(document->model);
    ESA_ASSIGN_OR_RETURN(spec_.model.ignore_merges, Bool(model.Member("ignore_merges"), false));
    ESA_ASSIGN_OR_RETURN(spec_.model.fuse_unk, Bool(model.Member("fuse_unk"), false));
    const Field unk = model.Member("unk_token");
    if (unk.value.is_string()) {
      spec_.model.unk_token = unk.value.get<std::string>();
    } else if (!unk.value.is_null()) {
      return Fail(unk, "a string or null");
    }
    return {};
  }

  // What makes a BPE another than the byte-level one.
  Status RejectForeignBpe(const Field& model) const {
    const Field fallback = model.Member("byte_fallback");
    ESA_ASSIGN_OR_RETURN(const bool byte_fallback, Bool(fallback, false));
    if (byte_fallback) return Fail(fallback, "false (byte-level BPE, not SentencePiece's)");
    const Field dropout = model.Member("dropout");
    if (!dropout.value.is_null() && dropout.value != 0) return Fail(dropout, "null");
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Field affix = model.Member(name);
      if (!affix.value.is_null() && affix.value != "")
        return Fail(affix, "an empty string or null");
    }
    return {};
  }

  Status ReadNormalizer(const Field& normalizer) {
    if (normalizer.value.is_null()) return {};
    const Field type = normalizer.Member("type");
    if (type.value == "NFC") {
      spec_.nfc = true;
      return {};
    }
    if (type.value == "Sequence") {
      return ForEach(normalizer.Member("normalizers"),
                     [this](const Field& one) { return ReadNormalizer(one); });
    }
    return Fail(type, "\"NFC\", a \"Sequence\" of it, or no normalizer");
  }

  Status ReadPreTokenizer(const Field& step) {
    const Field type = step.Member("type");
    if (type.value == "Sequence") {
      return ForEach(step.Member("pretokenizers"),
                     [this](const Field& one) { return ReadPreTokenizer(one); });
    }
    if (byte_level_) return Fail(type, "nothing after \"ByteLevel\"");
    if (type.value == "Split") return ReadSplit(step);
    if (type.value == "ByteLevel") return ReadByteLevel(step);
    return Fail(type, "\"ByteLevel\", or a \"Sequence\" of \"Split\" and \"ByteLevel\"");
  }

  Status ReadSplit(const Field& step) {
    const Field behavior = step.Member("behavior");
    if (behavior.value != "Isolated") return Fail(behavior, "\"Isolated\"");
    const Field pattern = step.Member("pattern");
    const Field regex = pattern.Member("Regex");
    const Field literal = pattern.Member("String");
    std::string text;
    if (regex.value.is_string()) text = regex.value.get<std::string>();
    if (literal.value.is_string()) text = EscapePattern(literal.value.get<std::string>());
    if (text.empty()) return Fail(pattern, "{\"Regex\": ...} or {\"String\": ...}, not empty");
    spec_.pre_tokenizer.push_back(
        {.pattern = text, .prefix_space = false, .field = file_ + ": " + pattern.name});
    return {};
  }

  Status ReadByteLevel(const Field& step) {
    byte_level_ = true;
    ESA_ASSIGN_OR_RETURN(const bool prefix_space, Bool(step.Member("add_prefix_space"), true));
    ESA_ASSIGN_OR_RETURN(const bool use_regex, Bool(step.Member("use_regex"), true));
    if (!prefix_space && !use_regex) return {};
    spec_.pre_tokenizer.push_back({.pattern = std::string(use_regex ? Gpt2SplitPattern() : ""),
                                   .prefix_space = prefix_space,
                                   .field = file_ + ": " + step.name});
    return {};
  }

  Status ReadPostProcessor(const Field& processor) {
    const Field type = processor.Member("type");
    if (processor.value.is_null() || type.value == "ByteLevel") return {};
    if (type.value == "TemplateProcessing") return ReadTemplate(processor);
    if (type.value == "Sequence") {
      return ForEach(processor.Member("processors"),
                     [this](const Field& one) { return ReadPostProcessor(one); });
    }
    return Fail(type, "\"TemplateProcessing\", \"ByteLevel\" or a \"Sequence\" of these");
  }

  Status ReadTemplate(const Field& processor) {
    std::vector<std::int32_t> before;
    std::vector<std::int32_t> after;
    bool seen_text = false;
    ESA_RETURN_IF_ERROR(ForEach(processor.Member("single"), [&](const Field& part) -> Status {
      if (part.value.contains("Sequence")) {
        seen_text = true;
        return {};
      }
      return ReadTemplateToken(part.Member("SpecialToken"), processor.Member("special_tokens"),
                               seen_text ? &after : &before);
    }));
    // A later processor of a Sequence wraps what the earlier ones made.
    spec_.prefix_ids.insert(spec_.prefix_ids.begin(), before.begin(), before.end());
    spec_.suffix_ids.insert(spec_.suffix_ids.end(), after.begin(), after.end());
    return {};
  }

  Status ReadTemplateToken(const Field& token, const Field& special_tokens,
                           std::vector<std::int32_t>* ids) const {
    const Field name = token.Member("id");
    if (!name.value.is_string()) return Fail(name, "the name of a special token");
    const Field entry = special_tokens.Member(name.value.get<std::string>());
    return ForEach(entry.Member("ids"), [&](const Field& field) -> Status {
      ESA_ASSIGN_OR_RETURN(const std::int32_t id, Id(field));
      ids->push_back(id);
      return {};
    });
  }

  Status ReadAddedTokens(const Field& tokens) {
    if (tokens.value.is_null()) return {};
    return ForEach(tokens, [this](const Field& entry) -> Status {
      AddedToken token;
      ESA_ASSIGN_OR_RETURN(token.id, Id(entry.Member("id")));
      const Field content = entry.Member("content");
      if (!content.value.is_string() || content.value == "") {
        return Fail(content, "a string that is not empty");
      }
      token.content = content.value.get<std::string>();
      ESA_ASSIGN_OR_RETURN(token.special, Bool(entry.Member("special"), false));
      ESA_ASSIGN_OR_RETURN(token.normalized, Bool(entry.Member("normalized"), !token.special));
      ESA_ASSIGN_OR_RETURN(token.single_word, Bool(entry.Member("single_word"), false));
      ESA_ASSIGN_OR_RETURN(token.lstrip, Bool(entry.Member("lstrip"), false));
      ESA_ASSIGN_OR_RETURN(token.rstrip, Bool(entry.Member("rstrip"), false));
      spec_.added_tokens.push_back(std::move(token));
      return {};
    });
  }

  // Sequences inside sequences are legal; a file made to exhaust the stack is not.
  template <class Visit>
  Status ForEach(const Field& list, const Visit& visit) const {
    constexpr std::size_t kMaxNameBytes = 1000;
    if (!list.value.is_array() || list.name.size() > kMaxNameBytes) return Fail(list, "an array");
    for (std::size_t i = 0; i < list.value.size(); ++i) {
      ESA_RETURN_IF_ERROR(visit(list.Element(i)));
    }
    return {};
  }

  const std::string& file_;
  TokenizerSpec spec_;
  bool byte_level_ = false;  // the last pre-tokenizer has been read
};

}  // namespace

Result<TokenizerSpec> ParseTokenizerJson(std::string_view json, const std::string& file) {
  ESA_ASSIGN_OR_RETURN(TokenizerDocument document, ReadTokenizerDocument(json, file));
  return SpecReader(file).Read(std::move(document));
}

}  // namespace esa
