#include "cli/engine_flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "base/status_macros.h"
#include "base/text_file.h"
#include "esa/metrics.h"
#include "esa/plugin.h"
#include "esa/sparse_attention.h"

namespace esa::cli {
namespace {

constexpr const char* kGroup = "Engine";

std::string OptionsText(const Options& options) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [key, value] : options) {
    std::visit([&, name = key](const auto& v) { object[name] = v; }, value);
  }
  return object.dump();
}

// The value whose name stands at its place.
template <class Value>
std::optional<Value> ValueOf(const std::vector<std::string>& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Value>(found - names.begin());
}

}  // namespace

CLI::Validator Size() {
  return CLI::Validator(
      [](std::string& text) {
        const auto bytes = ParseBytes(text);
        return bytes ? std::string() : bytes.error().message;
      },
      "SIZE");
}

void EngineFlags::AddTo(CLI::App* command) {
  command
      ->add_option("--model", model,
                   "Folder with config.json, safetensors, tokenizer; or a .gguf file")
      ->type_name("DIR|FILE");
  command->add_option("--config", config_file, "Settings as JSON or YAML; also UCM's")
      ->type_name("FILE")
      ->group(kGroup);
  command->add_option("--sparse", sparse, "Attention algorithm: ESA, dense, streaming, ...")
      ->type_name("NAME")
      ->group(kGroup);
  command
      ->add_option("--sparse-config", sparse_config,
                   "Its options, such as '{\"sparse_ratio\": 0.2}'")
      ->type_name("JSON")
      ->group(kGroup);
  command->add_option("--plugin", plugins, "Library with attention algorithms of your own")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->group(kGroup);
  command->add_option("--store", store, "Folder for KV blocks, kept; several spread the load")
      ->type_name("DIR")
      ->allow_extra_args(false)
      ->group(kGroup);
  command->add_option("--kv-memory", kv_memory, "Budget of KV in memory, such as 512MiB")
      ->check(Size())
      ->group(kGroup);
  AddNumbersTo(command);
  AddAuditTo(command);
}

void EngineFlags::AddAuditTo(CLI::App* command) {
  command
      ->add_option("--audit", audit_every,
                   "Measure every N-th step what the selection misses: reads every key")
      ->check(CLI::Range(0, 1 << 30))
      ->type_name("N")
      ->group(kGroup);
  command
      ->add_option("--audit-threshold", audit_threshold,
                   "Act when a layer misses more than this share of its softmax weight")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("SHARE")
      ->group(kGroup);
  command->add_option("--audit-action", audit_action, "Then: report, widen or dense")
      ->check(CLI::IsMember({"report", "widen", "dense"}))
      ->type_name("WHAT")
      ->group(kGroup);
}

void EngineFlags::AddNumbersTo(CLI::App* command) {
  command->add_option("--block-tokens", block_tokens, "Tokens of a block")
      ->check(CLI::Range(2, 4096))
      ->type_name("N")
      ->group(kGroup);
  command->add_option("--weights", weights, "Kept as: stored, int8 or int4, made on load")
      ->check(CLI::IsMember(WeightTypeNames()))
      ->type_name("TYPE")
      ->group(kGroup);
  command->add_flag("--map-weights", map_weights, "Leave stored weights in their file")
      ->group(kGroup);
  command->add_option("--kv-dtype", kv_dtype, "Number format of KV: bf16, f32 or int8")
      ->check(CLI::IsMember(KvDtypeNames()))
      ->type_name("TYPE")
      ->group(kGroup);
  command->add_option("--prefill", prefill, "What a prompt attends to: dense or sparse")
      ->check(CLI::IsMember(PrefillAttentionNames()))
      ->type_name("HOW")
      ->group(kGroup);
  command
      ->add_option("--prefill-ratio", prefill_ratio,
                   "Of sparse prefill: share of the distant blocks that is attended")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("SHARE")
      ->group(kGroup);
  command->add_option("--threads", threads, "Threads for compute; 0: all cores")
      ->check(CLI::Range(0, 4096))
      ->type_name("N")
      ->group(kGroup);
  command->add_flag("--pin-threads", pin_threads, "Each compute thread on a core of its own")
      ->group(kGroup);
  command->add_option("--retrieval-threads", retrieval_threads, "Threads for retrieval")
      ->check(CLI::Range(1, 256))
      ->type_name("N")
      ->group(kGroup);
  command->add_option("--tenant", tenant, "Salt of block ids: tenants never share blocks")
      ->type_name("TEXT")
      ->group(kGroup);
  command->add_flag("--io-direct", io_direct, "Go around the page cache where that is possible")
      ->group(kGroup);
}

void EngineFlags::AddMetricsTo(CLI::App* command) {
  command
      ->add_option("--metrics", metrics,
                   "At the end, what the store did and audits found, for Prometheus")
      ->type_name("FILE");
}

Status EngineFlags::WriteMetrics(const LLM& llm) const {
  if (metrics.empty()) return {};
  return ReplaceFile(metrics,
                     PrometheusText(llm.store_stats()) + PrometheusText(llm.audit_totals()));
}

Result<EngineConfig> EngineFlags::Resolve() const {
  EngineConfig config;
  if (!config_file.empty()) ESA_RETURN_IF_ERROR(ReadConfigFile(config_file, &config));
  ESA_RETURN_IF_ERROR(ReadEnvironment(&config));
  if (!model.empty()) config.model_dir = model;
  if (sparse && *sparse != config.sparse.name) config.sparse = {.name = *sparse, .options = {}};
  if (sparse_config) {
    auto options = ParseOptions(*sparse_config);
    if (!options) return InvalidArgument("--sparse-config: " + options.error().message);
    config.sparse.options = std::move(*options);
  }
  if (!store.empty()) config.store.storage_backends = store;
  if (kv_memory) {
    ESA_ASSIGN_OR_RETURN(config.kv_memory_bytes, ParseBytes(*kv_memory));
  }
  if (weights) config.weights.type = *WeightTypeOf(*weights);
  if (map_weights) config.weights.map = true;
  if (kv_dtype) config.kv_dtype = *KvDtypeOf(*kv_dtype);
  if (prefill) config.prefill.attention = *PrefillAttentionOf(*prefill);
  if (prefill_ratio) config.prefill.ratio = *prefill_ratio;
  if (block_tokens) config.block_tokens = *block_tokens;
  if (threads) config.threads = *threads;
  if (pin_threads) config.pin_threads = true;
  if (retrieval_threads) config.retrieval_threads = *retrieval_threads;
  if (tenant) config.tenant = *tenant;
  if (audit_every) config.audit.every = *audit_every;
  if (audit_threshold) config.audit.threshold = *audit_threshold;
  if (audit_action) {
    config.audit.action = *audit_action == "widen"   ? AuditAction::kWiden
                          : *audit_action == "dense" ? AuditAction::kDense
                                                     : AuditAction::kReport;
  }
  if (io_direct) config.store.io_direct = true;
  if (config.model_dir.empty()) {
    return InvalidArgument(
        "no model is named: give --model DIR, set MODEL_PATH, or write model "
        "into the --config file");
  }
  config.plugins.insert(config.plugins.end(), plugins.begin(), plugins.end());
  for (const std::string& path : config.plugins) {
    ESA_RETURN_IF_ERROR(LoadSparseAttentionPlugin(path));
  }
  // Before the weights are read: a mistake here should not cost that time.
  ESA_ASSIGN_OR_RETURN(const auto trial,
                       CreateSparseAttention(config.sparse.name, config.sparse.options));
  return config;
}

const std::vector<std::string>& WeightTypeNames() {
  static const std::vector<std::string> names = {"stored", "int8", "int4"};
  return names;
}

std::optional<WeightType> WeightTypeOf(const std::string& name) {
  return ValueOf<WeightType>(WeightTypeNames(), name);
}

const std::vector<std::string>& PrefillAttentionNames() {
  static const std::vector<std::string> names = {"dense", "sparse"};
  return names;
}

std::optional<PrefillAttention> PrefillAttentionOf(const std::string& name) {
  return ValueOf<PrefillAttention>(PrefillAttentionNames(), name);
}

const std::vector<std::string>& KvDtypeNames() {
  static const std::vector<std::string> names = {"bf16", "f32", "int8"};
  return names;
}

std::optional<KvDtype> KvDtypeOf(const std::string& name) {
  return ValueOf<KvDtype>(KvDtypeNames(), name);
}

std::map<std::string, std::string> DescribeSettings(const EngineConfig& config) {
  return {{"model", config.model_dir},
          {"sparse", config.sparse.name},
          {"sparse_options", OptionsText(config.sparse.options)},
          {"plugins", fmt::format("{}", fmt::join(config.plugins, " "))},
          {"block_tokens", fmt::format("{}", config.block_tokens)},
          {"weights", WeightTypeNames()[static_cast<std::size_t>(config.weights.type)]},
          {"kv_dtype", KvDtypeNames()[static_cast<std::size_t>(config.kv_dtype)]},
          {"prefill", config.prefill.attention == PrefillAttention::kDense
                          ? "dense"
                          : fmt::format("sparse {}", config.prefill.ratio)},
          {"audit", fmt::format("{} {} {}", config.audit.every, config.audit.threshold,
                                static_cast<int>(config.audit.action))},
          {"kv_memory_bytes", fmt::format("{}", config.kv_memory_bytes)},
          {"store_backend", config.store.backend}};
}

}  // namespace esa::cli
