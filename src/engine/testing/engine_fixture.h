// An engine on a tiny random model of tests/golden, for tests: logits of every step, any store.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/decode.h"
#include "engine/prefill.h"

namespace esa {

struct EngineSetup {
  std::string algorithm = "dense";
  Options options = {};
  std::int64_t pool_blocks = 1000;  // of all layers and heads
  std::string store = {};           // a backend; empty: none
  std::string folder = {};          // of a posix store
  bool fail_loads = false;          // once prefill is done
  AuditConfig audit = {};
  KvDtype kv_dtype = KvDtype::kBf16;
  SelectionObserver observer = {};
};

struct EngineRun {
  std::vector<std::vector<float>> logits = {};  // after the prompt and after each decode step
  std::vector<std::int64_t> allocations = {};   // on the calling thread, by decode step
  RequestStats stats = {};
  std::int64_t slots_left = 0;  // in use after the sequence was finished
  std::int64_t peak_slots = 0;
};

inline constexpr int kTestBlockTokens = 16;

// Prompt tokens drawn from a fixed stream; then `steps` greedy decode steps.
Result<EngineRun> RunEngine(const EngineSetup& setup, std::int64_t prompt_tokens, int steps);

}  // namespace esa
