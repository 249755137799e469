#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "model/architectures.h"
#include "model/gguf_model.h"
#include "model/json_text.h"
#include "model/model.h"

namespace esa {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxConfigBytes = 16u << 20;
// Far beyond any model; keeps every product of two sizes inside 64 bits and every size in an int.
constexpr std::int64_t kMaxSize = 1 << 24;
constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();

// A JSON object whose fields are read with their checks. A field that is null counts as absent.
// The first mistake is kept, later reads then answer with anything: one test at the end suffices.
class Fields {
 public:
  // `where` begins every message: the file, and the path inside it with its dot.
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const json* Find(const char* name) const {
    const auto it = object_.find(name);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  // A whole number in [1, most]; without a fallback the field must be there.
  std::int64_t Size(const char* name, std::int64_t most,
                    std::optional<std::int64_t> fallback = {}) {
    const json* value = Find(name);
    if (value == nullptr && fallback) return *fallback;
    const bool good = value != nullptr && value->is_number_unsigned() &&
                      value->get<std::uint64_t>() >= 1 &&
                      value->get<std::uint64_t>() <= static_cast<std::uint64_t>(most);
    if (!good) {
      Fail(name, fmt::format("a whole number from 1 to {}", most));
      return 1;
    }
    return value->get<std::int64_t>();
  }

  // A finite number above zero.
  double Positive(const char* name, std::optional<double> fallback = {}) {
    const json* value = Find(name);
    if (value == nullptr && fallback) return *fallback;
    const double number = value != nullptr && value->is_number() ? value->get<double>() : 0.0;
    if (!(number > 0 && std::isfinite(number))) {
      Fail(name, "a number above 0");
      return 1.0;
    }
    return number;
  }

  bool Bool(const char* name, bool fallback) {
    const json* value = Find(name);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) Fail(name, "true or false");
    return value->is_boolean() ? value->get<bool>() : fallback;
  }

  std::string Text(const char* name, std::optional<std::string> fallback = {}) {
    const json* value = Find(name);
    if (value == nullptr && fallback) return *fallback;
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    Fail(name, "a text");
    return {};
  }

  void Fail(const char* name, const std::string& expected, ErrorCode code = ErrorCode::kDataError) {
    Fail({code, fmt::format("{}{}: found {}, expected {}", where_, name, Found(name), expected)});
  }
  void Fail(Error error) {
    if (!error_) error_ = std::move(error);
  }

  Status Finish() const { return error_ ? Status(*error_) : Status(); }
  const std::string& where() const { return where_; }

 private:
  // Structures are named, not written out: writing recurses, as deep as the file nests.
  std::string Found(const char* name) const {
    const json* value = Find(name);
    if (value == nullptr) return "nothing";
    if (value->is_structured()) return value->is_array() ? "a list" : "an object";
    if (value->is_string()) return Quoted(value->get_ref<const std::string&>());
    return value->dump();
  }

  const json& object_;
  const std::string where_;
  std::optional<Error> error_;
};

Result<json> ReadObject(const std::filesystem::path& path) {
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxConfigBytes));
  json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return DataError(fmt::format("{}: found {}, expected a JSON object", path.string(),
                                 object.is_discarded() ? "no valid JSON" : object.type_name()));
  }
  return object;
}

void ReadShape(Fields& fields, ModelConfig& config) {
  config.vocab_size = fields.Size("vocab_size", kMaxInt32);
  config.hidden_size = static_cast<int>(fields.Size("hidden_size", kMaxSize));
  config.intermediate_size = static_cast<int>(fields.Size("intermediate_size", kMaxSize));
  config.num_layers = static_cast<int>(fields.Size("num_hidden_layers", kMaxSize));
  config.num_heads = static_cast<int>(fields.Size("num_attention_heads", kMaxSize));
  config.num_kv_heads =
      static_cast<int>(fields.Size("num_key_value_heads", kMaxSize, config.num_heads));
  config.max_position = fields.Size("max_position_embeddings", kMaxInt32);
  if (config.num_heads % config.num_kv_heads != 0) {
    fields.Fail("num_key_value_heads",
                fmt::format("a divisor of num_attention_heads, {}", config.num_heads));
  }
}

void ReadHeadDim(Fields& fields, ModelConfig& config) {
  // Qwen3's default in transformers is a constant, the others' is a quotient.
  const bool quotient = config.architecture != "qwen3";
  if (quotient && fields.Find("head_dim") == nullptr &&
      config.hidden_size % config.num_heads != 0) {
    fields.Fail("head_dim", fmt::format("a number, as hidden_size {} is no multiple of "
                                        "num_attention_heads {}",
                                        config.hidden_size, config.num_heads));
    return;
  }
  const std::int64_t fallback = quotient ? config.hidden_size / config.num_heads : 128;
  const std::int64_t head_dim = fields.Size("head_dim", kMaxSize / config.num_heads, fallback);
  config.head_dim = static_cast<int>(head_dim);
  if (head_dim % 2 != 0) {
    fields.Fail({ErrorCode::kDataError,
                 fmt::format("{}head_dim: found {}, expected an even number (given, or hidden_size "
                             "/ num_attention_heads)",
                             fields.where(), head_dim)});
  }
}

RopeScaling ReadLlama3Scaling(Fields& rope) {
  RopeScaling scaling;
  scaling.factor = rope.Positive("factor");
  scaling.low_freq_factor = rope.Positive("low_freq_factor");
  scaling.high_freq_factor = rope.Positive("high_freq_factor");
  scaling.original_max_position =
      static_cast<double>(rope.Size("original_max_position_embeddings", kMaxInt32));
  if (scaling.factor < 1) rope.Fail("factor", "a number of at least 1");
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    rope.Fail("high_freq_factor",
              fmt::format("a number above low_freq_factor, {}", scaling.low_freq_factor));
  }
  return scaling;
}

// Older files say rope_theta and rope_scaling, newer ones say both inside rope_parameters.
void ReadRope(Fields& fields, ModelConfig& config) {
  config.rope_theta = fields.Positive("rope_theta", 10000.0);
  const bool old_name = fields.Find("rope_scaling") != nullptr;
  const char* name = old_name ? "rope_scaling" : "rope_parameters";
  const json* object = fields.Find(name);
  if (object == nullptr) return;
  if (!object->is_object()) return fields.Fail(name, "an object or null");
  Fields rope(*object, fields.where() + name + ".");
  config.rope_theta = rope.Positive("rope_theta", config.rope_theta);
  const char* type_name = rope.Find("rope_type") != nullptr ? "rope_type" : "type";
  const bool typed = rope.Find(type_name) != nullptr;
  const std::string type = typed || old_name ? rope.Text(type_name) : "default";
  if (type == "llama3") {
    config.rope_scaling = ReadLlama3Scaling(rope);
  } else if (type != "default") {
    rope.Fail(type_name, "\"default\" or \"llama3\"", ErrorCode::kUnsupported);
  }
  if (const Status status = rope.Finish(); !status) fields.Fail(status.error());
}

// Fields that ask for a computation that is not here.
void RefuseUnsupported(Fields& fields) {
  constexpr ErrorCode kCode = ErrorCode::kUnsupported;
  if (fields.Text("hidden_act", "silu") != "silu") fields.Fail("hidden_act", "\"silu\"", kCode);
  if (fields.Bool("use_sliding_window", false)) {
    fields.Fail("use_sliding_window", "false: sliding windows are not supported", kCode);
  }
  if (fields.Bool("mlp_bias", false)) fields.Fail("mlp_bias", "false", kCode);
  if (fields.Positive("partial_rotary_factor", 1.0) != 1.0) {
    fields.Fail("partial_rotary_factor", "1", kCode);
  }
  if (fields.Find("quantization_config") != nullptr) {
    fields.Fail("quantization_config", "weights of F32, F16 or BF16", kCode);
  }
  const json* layers = fields.Find("layer_types");
  if (layers == nullptr) return;
  const bool full = layers->is_array() && std::ranges::all_of(*layers, [](const json& layer) {
                      return layer == "full_attention";
                    });
  if (!full) fields.Fail("layer_types", "\"full_attention\" for every layer", kCode);
}

// eos_token_id is one id or a list; ids that are already known are not added again.
void AddEosIds(Fields& fields, std::vector<std::int32_t>& ids) {
  const json* value = fields.Find("eos_token_id");
  if (value == nullptr) return;
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& element : list) {
    if (!element.is_number_unsigned() ||
        element.get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxInt32)) {
      return fields.Fail("eos_token_id", "a token id or a list of them");
    }
    const auto id = element.get<std::int32_t>();
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  }
}

Status AddGenerationConfig(const std::filesystem::path& path, ModelConfig& config) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  ESA_ASSIGN_OR_RETURN(const json object, ReadObject(path));
  Fields fields(object, path.string() + ": ");
  AddEosIds(fields, config.eos_ids);
  return fields.Finish();
}

}  // namespace

Result<ModelConfig> ReadModelConfig(const std::filesystem::path& folder) {
  if (IsGguf(folder)) {
    ESA_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(folder));
    return ReadGgufConfig(file);
  }
  const auto path = folder / "config.json";
  ESA_ASSIGN_OR_RETURN(const json object, ReadObject(path));
  Fields fields(object, path.string() + ": ");
  ModelConfig config;
  config.architecture = fields.Text("model_type");
  if (FindArchitecture(config.architecture) == nullptr) {
    fields.Fail("model_type", "one of " + ArchitectureNames(), ErrorCode::kUnsupported);
  }
  ReadShape(fields, config);
  ReadHeadDim(fields, config);
  ReadRope(fields, config);
  config.rms_norm_eps = static_cast<float>(fields.Positive("rms_norm_eps", 1e-6));
  config.tie_word_embeddings = fields.Bool("tie_word_embeddings", false);
  config.attention_bias = fields.Bool("attention_bias", false);
  RefuseUnsupported(fields);
  AddEosIds(fields, config.eos_ids);
  ESA_RETURN_IF_ERROR(fields.Finish());
  ESA_RETURN_IF_ERROR(AddGenerationConfig(folder / "generation_config.json", config));
  return config;
}

}  // namespace esa
