// What a model needs on this machine at a given context, before anything is run: memory, reads from
// disk, and the speed that bandwidth and arithmetic allow.
//
// Threading: pure functions.
#pragma once

#include <cstdint>

#include "esa/config.h"
#include "esa/result.h"
#include "model/model.h"
#include "ops/machine_ceilings.h"

namespace esa::cli {

struct PlanRequest {
  EngineConfig engine;
  ModelConfig shape;
  std::int64_t context = 0;  // tokens of the prompt
  MachineCeilings ceilings;
  double disk_bytes = 0;  // read a second
  double reuse = 0;       // part of a selection that the one before had too
};

// Bytes, seconds and rates of one sequence.
struct Plan {
  double weight_bytes = 0;       // in memory
  double step_weight_bytes = 0;  // of these, read in every decode step
  double kv_bytes_per_token = 0;
  double kv_bytes = 0;               // of the context, on disk
  double layer_kv_bytes = 0;         // of one layer: what prefill needs in KV memory at once
  double working_set_bytes = 0;      // what the algorithm keeps in KV memory while decoding
  double representation_bytes = 0;   // for retrieval, in memory
  double hidden_bytes = 0;           // hidden states of the prompt, while prefill lasts
  double attended_bytes = 0;         // of KV, by a decode step
  double loaded_bytes_per_step = 0;  // mean, at the given reuse
  double dense_step_seconds = 0;     // all of the context in memory
  double step_seconds = 0;           // without waiting for the disk
  double needed_disk_bytes = 0;      // a second, so that no step waits
  double stall_seconds = 0;          // a step, mean, with the disk as it is
  double prefill_seconds = 0;
  bool sparse = false;          // the algorithm attends to a part of the context only
  bool fits_kv_memory = false;  // working set and one layer's KV fit in kv_memory_bytes
};

// Of the ceilings, what the engine gets of them, as esa bench finds: 0.73 to 0.88 and 0.5 to 0.72.
inline constexpr double kReadPart = 0.8;
inline constexpr double kArithmeticPart = 0.6;

// Errors: of the algorithm's name or options.
Result<Plan> MakePlan(const PlanRequest& request);

}  // namespace esa::cli
