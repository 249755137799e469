// Prefill and decode of a model at given depths, by attention algorithm: what `esa bench` measures.
//
// A context of some depth is restored from a scratch folder, so that only what is measured is
// computed. All algorithms of a depth are measured in turn, in rounds: what else the machine does
// meets all of them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "esa/llm.h"
#include "esa/result.h"
#include "model/model.h"
#include "ops/machine_ceilings.h"

namespace esa::cli {

struct EngineBenchConfig {
  EngineConfig engine;  // its `sparse` aside
  std::vector<std::int64_t> depths;
  std::vector<SparseConfig> algorithms;
  std::vector<WeightType> weights = {WeightType::kStored};  // each with each algorithm
  std::int64_t prefill_tokens = 512;                        // 0: not measured
  std::int64_t decode_tokens = 32;                          // likewise
  int batch = 1;                                            // sequences that are decoded together
  int rounds = 5;
  bool fake_kv = false;       // the context is made up, not computed
  bool given_memory = false;  // engine.kv_memory_bytes holds; else what an algorithm needs
};

// Medians over the rounds of one algorithm at one depth.
struct EngineBenchRow {
  std::int64_t depth = 0;
  WeightType weights = WeightType::kStored;
  std::string algorithm;
  std::uint64_t weight_bytes = 0;
  double prefill_tokens_per_second = 0;
  std::int64_t prefill_tokens = 0;      // of one prefill
  double prefill_operations = 0;        // that it had to do
  double decode_tokens_per_second = 0;  // of the whole batch
  double decode_bytes = 0;              // weights and KV that a step of the batch had to read
  double attended_bytes = 0;            // of these, KV
  double loaded_bytes = 0;              // a step, from the folder
  double stall = 0;                     // part of the step spent waiting for retrieval or loads
  double load_copy = 0;                 // part of it spent copying loads that were in memory
  std::uint64_t kv_memory_bytes = 0;
};

struct EngineBenchResult {
  MachineCeilings ceilings;
  ModelConfig shape;
  std::uint64_t kv_bytes_per_token = 0;
  std::vector<EngineBenchRow> rows;
};

using BenchProgress = std::function<void(double fraction, const std::string& what)>;

Result<EngineBenchResult> RunEngineBench(const EngineBenchConfig& config,
                                         const BenchProgress& progress);

}  // namespace esa::cli
