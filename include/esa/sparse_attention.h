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

enum class RepresentationType { kF32, kBf16, kInt8 };

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

// What stands for a sealed block in retrieval: which statistics of its keys, as cached (after
// rope), the engine keeps. An algorithm says what it needs.
struct RepresentationSpec {
  int part_tokens = 0;      // a block is described in parts of so many tokens; 0: as a whole
  bool variance = false;    // of the keys, by channel
  bool bounds = false;      // the least and the largest key, by channel
  bool value_mean = false;  // the mean of the values
  int code_bits = 0;        // of each token's key, by random projections: a multiple of 64
  RepresentationType type = RepresentationType::kF32;  // of all but the codes

  bool operator==(const RepresentationSpec&) const = default;
};

// One statistic of one layer: a row of head_dim values for each KV head, block and part.
struct RepresentationRows {
  // KV head h: [num_blocks * parts, head_dim], from row h * head_stride on.
  const void* data = nullptr;
  const float* scales = nullptr;  // kInt8: a row's values are in units of its scale
  std::int64_t head_stride = 0;
  RepresentationType type = RepresentationType::kF32;

  explicit operator bool() const { return data != nullptr; }
};

// What one layer keeps of its sealed blocks. Without part_tokens there is one part.
struct RepresentationView {
  RepresentationRows mean = {};      // always there
  RepresentationRows variance = {};  // the rest as RepresentationSpec asked
  RepresentationRows lower = {};
  RepresentationRows upper = {};
  RepresentationRows value_mean = {};
  const std::uint64_t* codes = nullptr;  // KV head h: [num_blocks, block_tokens, code_words]
  std::int64_t code_head_stride = 0;     // in words
  int code_words = 0;
  std::int64_t num_blocks = 0;
  int parts = 1;  // of a block
  int part_tokens = 0;
  int block_tokens = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
};

// Row (block, part, kv_head) of a statistic as f32, [head_dim].
void ReadRow(const RepresentationView& view, const RepresentationRows& rows, BlockIndex block,
             int part, int kv_head, std::span<float> out);

// Rows of scores, [num_rows, candidates]: score `i` of a row is that of block range.begin + i.
struct ScoreRows {
  float* data = nullptr;
  std::int64_t stride = 0;  // in scores
  std::int64_t size = 0;    // of a row

  std::span<float> row(std::int64_t r) const {
    return {data + r * stride, static_cast<std::size_t>(size)};
  }
};

// How a part of a block is scored against a query.
struct ScoreRule {
  enum class Kind {
    kDot,        // q . mean
    kDeviation,  // q . mean + factor * sqrt(q^2 . variance)
    kLogMass,    // log of the part's sum of exp(factor * q . k), its n keys taken as drawn from a
                 // Gaussian with independent channels (the random energy model): with v = factor^2
                 // * q^2 . variance, factor * q . mean plus v / 2 + log n up to v = 2 log n, where
                 // one key weighs most, and sqrt(2 v log n) beyond; v = 0 where none is kept
    kBounds,     // sum over channels of max(q * lower, q * upper): no key of the part scores higher
    kCodes,      // the largest number of equal code bits of a token, in [0, code_bits]
  };  // A block's score is its best part's; for kLogMass the log of the sum of its parts.
  Kind kind = Kind::kDot;
  float factor = 1;
};

// Whose score a row of scores is.
enum class ScoreOf {
  kLayer,  // all KV heads together, added up; query [num_scores, num_kv_heads, head_dim]
  kHead,   // a query head; query [num_heads, head_dim], num_scores = num_heads
};

// Scores blocks [range.begin, range.end); may be called for parts of the candidates at the same
// time. Runs on worker threads and must touch nothing but its arguments and what it captured.
using BlockScorer = std::function<void(const RepresentationView& representations, BlockRange range,
                                       const ScoreRows& scores)>;

// Chooses among the candidates by their scores, lists of sorted, unique blocks; may overwrite the
// scores. Runs on one worker thread, after all scoring.
using BlockChooser =
    std::function<void(const RepresentationView& representations, BlockRange candidates,
                       const ScoreRows& scores, std::span<std::vector<BlockIndex>> lists)>;

// What is pointed to must stay as it is until the request is collected.
struct RetrievalRequest {
  BlockRange candidates = {};  // sealed blocks
  std::int64_t k = 0;          // how many a list gets; fewer when there are fewer candidates
  std::span<const float> query = {};
  ScoreOf score_of = ScoreOf::kLayer;
  ScoreRule rule = {};
  int num_scores = 1;  // rows of scores
  int num_lists = 1;   // results; list i is chosen by the rows [i, i + 1) * num_scores / num_lists
  const BlockScorer* scorer = nullptr;    // in place of query and rule
  const BlockChooser* chooser = nullptr;  // in place of the k blocks with the largest best score
};

using RetrievalTicket = std::uint64_t;  // 0: none
using BlockLists = std::span<const std::vector<BlockIndex>>;

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

  // Scores candidates on worker threads; Collect waits for the chosen blocks, one list or as many
  // as were asked for, sorted by index, valid until the next StartRetrieval of any layer. Equal
  // scores: the lower index wins. A ticket is collected once.
  virtual RetrievalTicket StartRetrieval(const RetrievalRequest& request) = 0;
  virtual BlockLists Collect(RetrievalTicket ticket) = 0;

  // Says what this layer will attend to from the next WaitLoad on: the engine loads what is not
  // resident and lets go of the rest. WaitLoad returns the blocks that could not be loaded,
  // sorted; they must not be attended to.
  virtual void StartLoad(std::span<const BlockIndex> blocks, int kv_head = kAllHeads) = 0;
  virtual std::vector<BlockIndex> WaitLoad() = 0;

  // The share of this step's softmax weight that each block has, exactly: [num_heads, num_blocks],
  // the tail last. Reads every key of the layer, from the store where they are not resident, into
  // memory of its own: for evaluation, not for decoding.
  virtual Status AttentionMass(std::span<float> mass) = 0;

  // Adds to the attention of query head `head` what is not attended to, as one key of softmax
  // weight exp(log_weight) (of scaled scores) and `value` [head_dim]. In AttentionBegin.
  virtual void AddEstimate(int head, float log_weight, std::span<const float> value) = 0;
};

class SparseAttention {
 public:
  virtual ~SparseAttention() = default;

  // The most blocks (sealed and tail) a layer may need resident at one time for this shape; the
  // engine refuses a selection above it in its tests and sizes the working set by it.
  virtual std::int64_t ResidentBlocks(const SequenceShape& shape) const = 0;

  // What retrieval needs to know of a block. The same for all sequences of an algorithm's options.
  virtual RepresentationSpec Representations() const { return {}; }

  // A block was sealed in all layers (by prefill or by decode); `block` counts up from 0.
  virtual void BlockSealed(BlockIndex block) { (void)block; }

  // Before a layer's attention: calls step.Attend. Not called for step 0.
  virtual void AttentionBegin(AttentionStep& step) = 0;

  // After a layer's attention; step 0 is the place for the first selection.
  virtual void AttentionEnd(AttentionStep& step) { (void)step; }

  // An audit found that selections miss too much: spend more from now on. False: cannot.
  virtual bool Widen() { return false; }

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
