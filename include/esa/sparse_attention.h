// The framework for sparse attention: an algorithm decides which KV blocks a decode step attends
// to; the engine moves the bytes and computes.
//
// One SparseAttention object serves one sequence. All its methods are called on the engine's
// thread, in order; it holds no thread and does no I/O: retrieval (scoring all blocks against a
// query on worker threads) and loading (from the store into the working set) are services of the
// AttentionStep it is given.
//
// A block is `block_tokens` consecutive tokens; it is sealed when it is full: then it has a
// representation and may leave fast memory. The tail, the newest block while it is not sealed, is
// always attended and is never named in a selection.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "esa/options.h"
#include "esa/result.h"

namespace esa {

using BlockIndex = std::int32_t;
inline constexpr int kAllHeads = -1;

// Blocks [begin, end).
struct BlockRange {
  BlockIndex begin = 0;
  BlockIndex end = 0;
  std::int64_t size() const { return end > begin ? end - begin : 0; }
};

struct SequenceShape {
  std::int64_t prompt_tokens = 0;
  std::int64_t context_tokens = 0;  // prompt and generated, with the current token
  std::int64_t sealed_blocks = 0;   // full blocks before the current token
  int block_tokens = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;

  // Blocks of the context, the partial one counted.
  std::int64_t num_blocks() const { return (context_tokens + block_tokens - 1) / block_tokens; }
  int group_size() const { return num_heads / num_kv_heads; }
};

// Mean keys of one layer: the mean over a sealed block's tokens of the key as cached (after rope).
struct RepresentationView {
  const float* mean = nullptr;  // [num_blocks, num_kv_heads, head_dim]
  std::int64_t num_blocks = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
};

// Scores blocks [range.begin, range.end) into `scores` [range.size()]; runs on a worker thread and
// must touch nothing but its arguments and what it captured by value.
using BlockScorer = std::function<void(const RepresentationView& representations, BlockRange range,
                                       std::span<float> scores)>;

struct RetrievalRequest {
  BlockRange candidates = {};          // sealed blocks
  std::int64_t k = 0;             // how many to return; fewer when there are fewer candidates
  std::vector<float> query = {};       // [num_kv_heads, head_dim] for the default scorer: dot product
  BlockScorer scorer = {};             // in place of the default one
};

using RetrievalTicket = std::uint64_t;  // 0: none

// One sequence at one layer of one decode step, and the services it may use. Step 0 is the end of
// prefill: the query is that of the prompt's last token, and all blocks are still in memory.
class AttentionStep {
 public:
  virtual ~AttentionStep() = default;

  virtual int layer() const = 0;
  virtual std::int64_t step() const = 0;  // 1 at the first decode step
  virtual const SequenceShape& shape() const = 0;

  // The current token's query after rope, [num_heads, head_dim].
  virtual std::span<const float> query() const = 0;
  virtual RepresentationView representations() const = 0;

  // Names the sealed blocks that this step attends to beside the tail: sorted, unique. To be
  // called once for all heads, or once for each KV head, in AttentionBegin.
  virtual void Attend(std::span<const BlockIndex> blocks, int kv_head = kAllHeads) = 0;

  // Scores candidates on worker threads; Collect waits for the k best, sorted by index. Equal
  // scores: the lower index wins.
  virtual RetrievalTicket StartRetrieval(RetrievalRequest request) = 0;
  virtual std::vector<BlockIndex> Collect(RetrievalTicket ticket) = 0;

  // Says what this layer will attend to from the next WaitLoad on: the engine loads what is not
  // resident and lets go of the rest. WaitLoad returns the blocks that could not be loaded,
  // sorted; they must not be attended to.
  virtual void StartLoad(std::span<const BlockIndex> blocks, int kv_head = kAllHeads) = 0;
  virtual std::vector<BlockIndex> WaitLoad() = 0;
};

class SparseAttention {
 public:
  virtual ~SparseAttention() = default;

  // The most blocks (sealed and tail) a layer may need resident at one time for this shape; the
  // engine refuses a selection above it in its tests and sizes the working set by it.
  virtual std::int64_t ResidentBlocks(const SequenceShape& shape) const = 0;

  // A block was sealed in all layers (by prefill or by decode); `block` counts up from 0.
  virtual void BlockSealed(BlockIndex block) { (void)block; }

  // Before a layer's attention: calls step.Attend. Not called for step 0.
  virtual void AttentionBegin(AttentionStep& step) = 0;

  // After a layer's attention; step 0 is the place for the first selection.
  virtual void AttentionEnd(AttentionStep& step) { (void)step; }

  virtual void SequenceFinished() {}
};

// Makes an algorithm for a new sequence; reads its options, names wrong ones in the error.
using SparseAttentionFactory =
    std::function<Result<std::unique_ptr<SparseAttention>>(const Options& options)>;

// Adds an algorithm to the table. Error: the name is taken.
Status RegisterSparseAttention(const std::string& name, SparseAttentionFactory factory);

// Names of all algorithms, sorted.
std::vector<std::string> SparseAttentionNames();

// Error: unknown name (the message lists the known ones), or wrong options.
Result<std::unique_ptr<SparseAttention>> CreateSparseAttention(const std::string& name,
                                                               const Options& options);

}  // namespace esa
