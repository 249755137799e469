// The flags that say which model runs and how: shared by every subcommand that opens one.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "esa/config.h"
#include "esa/llm.h"
#include "esa/result.h"

namespace esa::cli {

struct EngineFlags {
  std::string model;
  std::string config_file;
  std::optional<std::string> sparse;
  std::optional<std::string> sparse_config;  // JSON
  std::vector<std::string> plugins;
  std::vector<std::string> store;
  std::optional<std::string> weights;
  std::optional<std::string> kv_memory;
  std::optional<std::string> kv_dtype;
  std::optional<std::string> prefill;
  std::optional<double> prefill_ratio;
  std::optional<int> block_tokens;
  std::optional<int> threads;
  std::optional<int> retrieval_threads;
  std::optional<std::string> tenant;
  std::optional<int> audit_every;
  std::optional<double> audit_threshold;
  std::optional<std::string> audit_action;
  bool map_weights = false;
  bool pin_threads = false;
  bool io_direct = false;
  std::string metrics;  // file

  void AddTo(CLI::App* command);
  void AddMetricsTo(CLI::App* command);

  // Flags over environment over file over defaults; loads the plug-ins they name. Errors are of
  // usage: a wrong configuration file or environment, an unknown algorithm or option of one, or no
  // model named anywhere.
  Result<EngineConfig> Resolve() const;

  // Leaves what the store has counted in the file of --metrics, where one is named.
  Status WriteMetrics(const LLM& llm) const;

 private:
  void AddNumbersTo(CLI::App* command);
  void AddAuditTo(CLI::App* command);
};

// The names of KvDtype's values, in their order.
const std::vector<std::string>& KvDtypeNames();
std::optional<KvDtype> KvDtypeOf(const std::string& name);

// The names of PrefillAttention's values, in their order.
const std::vector<std::string>& PrefillAttentionNames();
std::optional<PrefillAttention> PrefillAttentionOf(const std::string& name);

// The names of WeightType's values, in their order.
const std::vector<std::string>& WeightTypeNames();
std::optional<WeightType> WeightTypeOf(const std::string& name);

// A validator of sizes as ParseBytes reads them.
CLI::Validator Size();

// What an answer depends on, by name: the settings that an evaluation records.
std::map<std::string, std::string> DescribeSettings(const EngineConfig& config);

}  // namespace esa::cli
