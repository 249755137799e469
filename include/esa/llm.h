// A model opened for generation from long prompts: the door of the library.
//
//   esa::EngineConfig config{.model_dir = "Qwen2.5-7B-Instruct"};
//   auto llm = esa::LLM::Open(config);
//   auto done = (*llm)->Generate({{.prompt = text}}, {.max_tokens = 64});
//
// Threading: an LLM is used from one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "esa/config.h"
#include "esa/result.h"

namespace esa {

struct SamplingParams {
  int max_tokens = 256;
  double temperature = 0.0;  // 0: greedy
  int top_k = 0;             // 0: off
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  std::uint64_t seed = 0;
  std::vector<std::string> stop = {};  // the text ends before the first of these
  bool ignore_eos = false;
};

struct Message {
  std::string role = {};  // system, user, assistant
  std::string content = {};
};

// Exactly one of the three is given.
struct Prompt {
  std::string prompt = {};             // raw text
  std::vector<Message> messages = {};  // rendered by the model's chat template
  std::vector<std::int32_t> token_ids = {};
};

// What one request cost. Bytes are of KV; times in seconds.
struct RequestStats {
  std::int64_t prompt_tokens = 0;
  std::int64_t restored_tokens = 0;  // of the prompt, found in the store
  std::int64_t generated_tokens = 0;
  double prefill_seconds = 0;             // arrival of the request to the first token: TTFT
  double restore_seconds = 0;             // of these, waiting for what was restored
  double decode_seconds = 0;              // after the first token
  std::uint64_t peak_resident_bytes = 0;  // of this engine's working set while the request ran
  double prefill_share = 1;  // of the blocks before its queries, those that prefill attended to
  std::uint64_t restored_bytes = 0;  // read to restore the prefix
  std::uint64_t loaded_bytes = 0;    // read during decode
  std::uint64_t fetched_bytes = 0;   // of slices in a selection that were not in the last one:
                                     // what is read with no memory beside the selection
  std::uint64_t attended_bytes = 0;  // read by attention during decode
  std::uint64_t dumped_bytes = 0;
  double retrieval_stall_seconds = 0;  // the step waited for a retrieval
  double load_stall_seconds = 0;       // the step waited for a load
  double load_copy_seconds = 0;        // its threads copied what was to be loaded and in memory
  std::int64_t selected_blocks = 0;    // sum over adopted selections, layers
  std::int64_t reused_blocks = 0;      // of these, resident already when selected
  std::int64_t selections = 0;         // selections adopted, summed over layers
  std::int64_t failed_loads = 0;       // slices left out of a selection
  std::int64_t failed_dumps = 0;
  bool sparse = false;  // a step attended to fewer blocks than the context has
  bool degraded = false;
  std::int64_t audited_steps = 0;
  double audit_seconds = 0;                // part of decode_seconds
  double missed_mass = 0;                  // mean over audited steps, layers and heads
  double largest_missed_mass = 0;          // of one head at one step
  std::vector<float> missed_by_head = {};  // mean over audited steps, [num_layers, num_heads]
  bool widened = false;                    // an audit made the algorithm spend more
  bool fell_back_to_dense = false;         // an audit gave up the algorithm
  std::string store_error = {};            // why a dump failed, empty when none did
};

struct Completion {
  std::string text = {};
  std::vector<std::int32_t> token_ids = {};
  std::string finish_reason = {};  // "stop", "length"
  RequestStats stats = {};
};

// A piece of text of request `index` as it is generated.
using StreamCallback = std::function<void(std::size_t index, std::string_view text)>;
// Prompt tokens done of all, while request `index` is in prefill.
using ProgressCallback = std::function<void(std::size_t index, double fraction)>;

// What one KV head of one layer attended to at one decode step, beside the tail.
struct SelectionEvent {
  std::size_t request = 0;
  std::int64_t step = 0;  // from 1
  int layer = 0;
  int kv_head = 0;
  std::span<const std::int32_t> blocks;
  std::int64_t sealed_blocks = 0;
};
using SelectionObserver = std::function<void(const SelectionEvent&)>;

// What audits found in all requests that have ended.
struct AuditTotals {
  std::int64_t steps = 0;               // audited
  double seconds = 0;                   // that audits took
  std::int64_t widened = 0;             // requests whose algorithm was made to spend more
  std::int64_t fell_back_to_dense = 0;  // requests that gave up their algorithm
  int num_heads = 0;
  std::vector<double> missed = {};  // shares summed over steps, [num_layers, num_heads]; or empty
};

class LLM {
 public:
  static Result<std::unique_ptr<LLM>> Open(const EngineConfig& config);
  ~LLM();

  // One completion a prompt, in their order; the prompts are decoded as a batch.
  Result<std::vector<Completion>> Generate(std::span<const Prompt> prompts,
                                           const SamplingParams& params,
                                           const StreamCallback& stream = {},
                                           const ProgressCallback& progress = {});

  // Called, from now on, with every selection as it is used. An empty one ends it.
  void ObserveSelections(SelectionObserver observer);

  // For benchmarks: puts made-up KV for these tokens into the engine's scratch folder, so that a
  // prompt that begins with them is restored as if they had been computed. kInvalidArgument where
  // the engine was given a store: nothing made up may be served from it.
  Status MakeUpKv(std::span<const std::int32_t> tokens,
                  const std::function<void(double fraction)>& progress = {});

  // Logits after every token, row-major [tokens.size(), vocab_size], by one prefill.
  Result<std::vector<float>> Logits(std::span<const std::int32_t> tokens);

  Result<std::vector<std::int32_t>> Tokenize(std::string_view text) const;
  Result<std::string> RenderChat(std::span<const Message> messages) const;

  const EngineConfig& config() const;
  std::int64_t vocab_size() const;
  std::int64_t max_position() const;  // tokens the model was trained for
  std::uint64_t weight_bytes() const;
  std::uint64_t step_weight_bytes() const;  // of these, what every decode step reads
  std::uint64_t kv_bytes_per_token() const;
  StoreStats store_stats() const;  // all zero while there is no store
  AuditTotals audit_totals() const;

 private:
  struct State;
  explicit LLM(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace esa
