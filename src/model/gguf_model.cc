#include "model/gguf_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "model/architectures.h"
#include "model/json_text.h"

namespace esa {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxSize = 1 << 24;

struct NamePair {
  std::string_view gguf, hugging_face;
};

constexpr NamePair kEnds[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

constexpr NamePair kLayerParts[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"}};

std::optional<std::string_view> Translated(std::span<const NamePair> table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &NamePair::gguf);
  if (found == table.end()) return std::nullopt;
  return found->hugging_face;
}

// Sizes, with their bounds.
class Sizes {
 public:
  Sizes(const GgufFile& file, std::string architecture)
      : file_(file), prefix_(std::move(architecture) + ".") {}

  std::int64_t Get(const char* name, std::optional<std::uint64_t> fallback = {}) {
    auto value = file_.Integer(prefix_ + name, fallback);
    if (value && (*value < 1 || *value > kMaxSize)) {
      value = DataError(fmt::format("{}: {}{}: found {}, expected 1 to {}", file_.path(), prefix_,
                                    name, *value, kMaxSize));
    }
    if (!value) {
      if (!error_) error_ = value.error();
      return 1;
    }
    return static_cast<std::int64_t>(*value);
  }

  double Positive(const char* name, std::optional<double> fallback = {}) {
    auto value = file_.Real(prefix_ + name, fallback);
    if (value && !(*value > 0 && std::isfinite(*value))) {
      value = DataError(fmt::format("{}: {}{}: found {}, expected a number above 0", file_.path(),
                                    prefix_, name, *value));
    }
    if (!value) {
      if (!error_) error_ = value.error();
      return 1;
    }
    return *value;
  }

  const std::optional<Error>& error() const { return error_; }

 private:
  const GgufFile& file_;
  std::string prefix_;
  std::optional<Error> error_;
};

// Llama 3.1's scaling of the angles comes as a divisor for each of them.
Result<std::vector<float>> RopeDivisors(const GgufFile& file, int head_dim) {
  const auto it = file.tensors().find("rope_freqs.weight");
  if (it == file.tensors().end()) return std::vector<float>();
  const GgufTensor& tensor = it->second;
  const std::vector<std::int64_t> shape = {head_dim / 2};
  if (tensor.type != "F32" || tensor.shape != shape) {
    return DataError(fmt::format("{}: tensor \"rope_freqs.weight\": expected {} values of F32",
                                 tensor.file, head_dim / 2));
  }
  std::vector<float> divisors(static_cast<std::size_t>(head_dim / 2));
  FindGgmlFormat("F32")->widen(tensor.bytes.data(), head_dim / 2, divisors.data());
  const bool good = std::ranges::all_of(divisors, [](float d) { return d > 0; });
  if (!good) return DataError(tensor.file + ": tensor \"rope_freqs.weight\": expected divisors");
  return divisors;
}

Result<std::int64_t> VocabularySize(const GgufFile& file, std::int64_t hidden) {
  const auto it = file.tensors().find("token_embd.weight");
  if (it == file.tensors().end() || it->second.shape.size() != 2 || it->second.shape[1] != hidden ||
      it->second.shape[0] < 1 || it->second.shape[0] > std::numeric_limits<std::int32_t>::max()) {
    return DataError(fmt::format("{}: tensor \"token_embd.weight\": expected rows of {} values",
                                 file.path(), hidden));
  }
  return it->second.shape[0];
}

void AddEos(const GgufFile& file, const char* key, std::vector<std::int32_t>* ids) {
  const auto id = file.Integer(key);
  if (!id || *id > std::numeric_limits<std::int32_t>::max()) return;
  const auto value = static_cast<std::int32_t>(*id);
  if (std::ranges::find(*ids, value) == ids->end()) ids->push_back(value);
}

// How a vocabulary cuts text into words before it merges: a regular expression, whether NFC comes
// first, and whether whole words are looked up before.
struct Family {
  std::string_view name;
  const char* pattern;
  bool nfc;
  bool ignore_merges;
  bool bos;  // where the file does not say
};

constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr Family kFamilies[] = {{"qwen2", kQwen2Pattern, true, false, false},
                                {"llama-bpe", kLlama3Pattern, false, true, true},
                                {"llama3", kLlama3Pattern, false, true, true},
                                {"llama-v3", kLlama3Pattern, false, true, true}};

Result<const Family*> FamilyOf(const GgufFile& file) {
  ESA_ASSIGN_OR_RETURN(const std::string name, file.Text("tokenizer.ggml.pre", "default"));
  const auto* found = std::ranges::find(kFamilies, name, &Family::name);
  if (found != std::end(kFamilies)) return found;
  return Unsupported(fmt::format("{}: tokenizer.ggml.pre: found {}, expected qwen2 or llama-bpe",
                                 file.path(), Quoted(name)));
}

constexpr std::int64_t kControl = 3;
constexpr std::int64_t kUserDefined = 4;

std::optional<std::string> TokenAt(const std::vector<std::string_view>& tokens,
                                   const GgufFile& file, const char* key) {
  const auto id = file.Integer(key);
  if (!id || *id >= tokens.size()) return std::nullopt;
  return std::string(tokens[static_cast<std::size_t>(*id)]);
}

}  // namespace

Result<ModelConfig> ReadGgufConfig(const GgufFile& file) {
  ModelConfig config;
  ESA_ASSIGN_OR_RETURN(config.architecture, file.Text("general.architecture"));
  if (FindArchitecture(config.architecture) == nullptr) {
    return Unsupported(fmt::format("{}: general.architecture: found {}, expected one of {}",
                                   file.path(), Quoted(config.architecture), ArchitectureNames()));
  }
  Sizes sizes(file, config.architecture);
  config.hidden_size = static_cast<int>(sizes.Get("embedding_length"));
  config.intermediate_size = static_cast<int>(sizes.Get("feed_forward_length"));
  config.num_layers = static_cast<int>(sizes.Get("block_count"));
  config.num_heads = static_cast<int>(sizes.Get("attention.head_count"));
  config.num_kv_heads = static_cast<int>(
      sizes.Get("attention.head_count_kv", static_cast<std::uint64_t>(config.num_heads)));
  const std::int64_t quotient = std::max(config.hidden_size / config.num_heads, 1);
  config.head_dim =
      static_cast<int>(sizes.Get("attention.key_length", static_cast<std::uint64_t>(quotient)));
  config.max_position = sizes.Get("context_length");
  config.rope_theta = sizes.Positive("rope.freq_base", 10000.0);
  config.rms_norm_eps = static_cast<float>(sizes.Positive("attention.layer_norm_rms_epsilon"));
  if (sizes.error()) return *sizes.error();
  if (config.num_heads % config.num_kv_heads != 0 || config.head_dim % 2 != 0 ||
      std::int64_t{config.num_heads} * config.head_dim > static_cast<std::int64_t>(kMaxSize)) {
    return DataError(
        fmt::format("{}: {} heads, {} KV heads, {} dimensions: expected whole groups "
                    "and an even number of dimensions",
                    file.path(), config.num_heads, config.num_kv_heads, config.head_dim));
  }
  ESA_ASSIGN_OR_RETURN(const std::string scaling,
                       file.Text(config.architecture + ".rope.scaling.type", "none"));
  if (scaling != "none") {
    return Unsupported(fmt::format("{}: {}.rope.scaling.type: found {}, expected none", file.path(),
                                   config.architecture, Quoted(scaling)));
  }
  ESA_ASSIGN_OR_RETURN(config.rope_divisors, RopeDivisors(file, config.head_dim));
  ESA_ASSIGN_OR_RETURN(config.vocab_size, VocabularySize(file, config.hidden_size));
  config.tie_word_embeddings = !file.tensors().contains("output.weight");
  config.attention_bias =
      config.architecture != "qwen2" && file.tensors().contains("blk.0.attn_q.bias");
  AddEos(file, "tokenizer.ggml.eos_token_id", &config.eos_ids);
  AddEos(file, "tokenizer.ggml.eot_token_id", &config.eos_ids);
  return config;
}

std::optional<std::string> HuggingFaceName(std::string_view gguf_name) {
  const std::size_t dot = gguf_name.rfind('.');
  if (dot == gguf_name.npos) return std::nullopt;
  const std::string_view suffix = gguf_name.substr(dot);  // ".weight" or ".bias"
  const std::string_view stem = gguf_name.substr(0, dot);
  if (const auto end = Translated(kEnds, stem)) return std::string(*end) + std::string(suffix);
  if (!stem.starts_with("blk.")) return std::nullopt;
  const std::size_t part = stem.find('.', 4);
  if (part == stem.npos) return std::nullopt;
  const auto name = Translated(kLayerParts, stem.substr(part + 1));
  if (!name) return std::nullopt;
  return fmt::format("model.layers.{}.{}{}", stem.substr(4, part - 4), *name, suffix);
}

std::int64_t GgufHeadRow(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t head = row / head_dim;
  const std::int64_t in_head = row % head_dim;
  const std::int64_t half = head_dim / 2;
  return head * head_dim + in_head % half * 2 + in_head / half;
}

Result<std::string> GgufTokenizerJson(const GgufFile& file) {
  ESA_ASSIGN_OR_RETURN(const std::string model, file.Text("tokenizer.ggml.model", "none"));
  if (model != "gpt2") {
    return NotFound(
        fmt::format("{}: tokenizer.ggml.model: found {}, expected gpt2 (byte-level BPE)",
                    file.path(), Quoted(model)));
  }
  ESA_ASSIGN_OR_RETURN(const Family* family, FamilyOf(file));
  ESA_ASSIGN_OR_RETURN(const auto tokens, file.Texts("tokenizer.ggml.tokens"));
  ESA_ASSIGN_OR_RETURN(const auto types, file.Integers("tokenizer.ggml.token_type"));
  ESA_ASSIGN_OR_RETURN(const auto merges, file.Texts("tokenizer.ggml.merges"));
  ESA_ASSIGN_OR_RETURN(const bool add_bos, file.Bool("tokenizer.ggml.add_bos_token", family->bos));
  if (types.size() != tokens.size()) {
    return DataError(fmt::format("{}: tokenizer.ggml.token_type: found {} of them, expected {}",
                                 file.path(), types.size(), tokens.size()));
  }
  json vocab = json::object();
  json added = json::array();
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] != kControl && types[id] != kUserDefined) {
      vocab[std::string(tokens[id])] = id;
      continue;
    }
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types[id] == kControl}});
  }
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", false},
                           {"use_regex", false}};
  const json split = {{"type", "Split"},
                      {"pattern", {{"Regex", family->pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  json post = byte_level;
  if (const auto bos = TokenAt(tokens, file, "tokenizer.ggml.bos_token_id"); add_bos && bos) {
    const json special = {{"SpecialToken", {{"id", *bos}, {"type_id", 0}}}};
    const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
    post = {{"type", "TemplateProcessing"},
            {"single", {special, text}},
            {"pair", {special, text}},
            {"special_tokens",
             {{*bos,
               {{"id", *bos},
                {"ids", {*file.Integer("tokenizer.ggml.bos_token_id")}},
                {"tokens", {*bos}}}}}}};
  }
  json merge_list = json::array();
  for (const std::string_view merge : merges) merge_list.push_back(merge);
  const json document = {
      {"version", "1.0"},
      {"added_tokens", std::move(added)},
      {"normalizer", family->nfc ? json{{"type", "NFC"}} : json(nullptr)},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}},
      {"post_processor", std::move(post)},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"ignore_merges", family->ignore_merges},
        {"vocab", std::move(vocab)},
        {"merges", std::move(merge_list)}}}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<GgufSpecials> ReadGgufSpecials(const GgufFile& file) {
  GgufSpecials specials;
  if (file.Has("tokenizer.chat_template")) {
    ESA_ASSIGN_OR_RETURN(specials.chat_template, file.Text("tokenizer.chat_template"));
  }
  if (!file.Has("tokenizer.ggml.tokens")) return specials;
  ESA_ASSIGN_OR_RETURN(const auto tokens, file.Texts("tokenizer.ggml.tokens"));
  specials.bos_token = TokenAt(tokens, file, "tokenizer.ggml.bos_token_id");
  specials.eos_token = TokenAt(tokens, file, "tokenizer.ggml.eos_token_id");
  return specials;
}

}  // namespace esa
