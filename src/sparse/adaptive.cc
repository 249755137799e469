// Adaptive: the algorithm we recommend. docs/algorithms.md has the ablation that led to it.
//
// - A selection for each KV head: a block counts by the largest share of the attention that any
//   query head of the group is estimated to give it.
// - Blocks are described in parts of a few tokens, finer than they are stored.
// - Loads stop where `top_p` of the attention is covered; `sparse_ratio` of the blocks at most.
// - A retrieval every `retrieval_stride` steps, layers taking turns; it runs while one step
//   computes, its loads while the next one does.
// - When the query turns away from that of the last retrieval, retrieval and loading are done at
//   once.
// - One retrieval replaces a part of the budget at most, and loads nothing of little weight.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "sparse/windows.h"

namespace esa {
namespace {

struct AdaptiveOptions {
  Windows windows;
  std::int64_t min_blocks = 4;
  double sparse_ratio = 0.05;
  double top_p = 0.99;
  std::int64_t retrieval_stride = 4;
  double turn = 0.7;          // cosine of a head's query with that of the last retrieval
  double most_new = 0.1;      // part of the budget that one retrieval may replace
  double least_share = 0.05;  // of the attention, of a block that is to be loaded
  double neighbours = 0.05;   // part of its neighbours' shares that a block's rank gets
  std::int64_t part_tokens = 4;
  bool variance = false;
  RepresentationType type = RepresentationType::kInt8;
};

using Lists = std::vector<std::vector<BlockIndex>>;

// Estimated shares of the attention in a group of query heads.
struct Shares {
  std::vector<std::vector<float>> of;  // by query head and block
  std::vector<float> largest;          // of a block between the windows, in any of the heads
  std::vector<float> covered;          // by query head, by what is attended to so far
};

struct Layer {
  std::vector<float> query;  // of the last retrieval, [num_heads, head_dim]
  std::int64_t step = 0;     // of the last retrieval
  RetrievalTicket ticket = 0;
  BlockRange between;  // what is chosen from
  std::int64_t k = 0;
  bool first = true;  // retrieval: all blocks are still in memory
  BlockChooser chooser;
  Lists chosen;  // by KV head, of the last retrieval
  LayerSelection selection;
};

// Log weights into shares of the whole.
std::vector<float> SharesOf(std::span<const float> logs) {
  const float largest = *std::max_element(logs.begin(), logs.end());
  std::vector<float> shares(logs.size());
  float sum = 0;
  for (std::size_t i = 0; i < logs.size(); ++i) sum += shares[i] = std::exp(logs[i] - largest);
  for (float& share : shares) share /= sum;
  return shares;
}

// The least cosine of a head's query with its query then.
float LeastCosine(std::span<const float> now, std::span<const float> then, std::size_t dim) {
  float least = 1;
  for (std::size_t at = 0; at < now.size(); at += dim) {
    const auto product = [&](std::span<const float> a, std::span<const float> b) {
      return std::inner_product(a.begin() + at, a.begin() + at + dim, b.begin() + at, 0.0f);
    };
    const float norms = std::sqrt(product(now, now) * product(then, then));
    if (norms > 0) least = std::min(least, product(now, then) / norms);
  }
  return least;
}

class AdaptiveAttention final : public SparseAttention {
 public:
  explicit AdaptiveAttention(const AdaptiveOptions& options) : options_(options) {}

  RepresentationSpec Representations() const override {
    return {.part_tokens = static_cast<int>(options_.part_tokens),
            .variance = options_.variance,
            .type = options_.type};
  }

  std::int64_t ResidentBlocks(const SequenceShape& shape) const override {
    if (!IsSparse(shape)) return shape.num_blocks();
    return ResidentBetween(options_.windows, options_.sparse_ratio, options_.retrieval_stride + 2,
                           shape);
  }

  void AttentionBegin(AttentionStep& step) override {
    Layer& layer = LayerOf(layers_, step);
    if (!IsSparse(step.shape())) return layer.selection.Attend(step);
    if (layer.selection.loading()) layer.selection.Adopt(step);
    if (Turned(step, layer)) {
      if (layer.ticket != 0) FinishRetrieval(step, layer);
      StartRetrieval(step, layer);
      FinishRetrieval(step, layer);
    }
    layer.selection.Attend(step);
  }

  void AttentionEnd(AttentionStep& step) override {
    if (!IsSparse(step.shape())) return;
    Layer& layer = LayerOf(layers_, step);
    if (layer.ticket != 0) {
      StartLoad(step, layer);
    } else if (Due(step, layer)) {
      StartRetrieval(step, layer);
      if (step.step() == 0) StartLoad(step, layer);
    }
  }

  bool Widen() override {
    if (options_.sparse_ratio >= 1) return false;
    options_.sparse_ratio = std::min(1.0, std::max(0.01, 2 * options_.sparse_ratio));
    return true;
  }

 private:
  bool IsSparse(const SequenceShape& shape) const {
    return shape.prompt_tokens / shape.block_tokens >= options_.min_blocks;
  }

  bool Due(const AttentionStep& step, const Layer& layer) const {
    if (step.step() == 0) return true;
    if (layer.selection.loading()) return false;
    const bool my_turn = (step.step() + step.layer()) % options_.retrieval_stride == 0;
    return my_turn || step.step() - layer.step >= options_.retrieval_stride;
  }

  bool Turned(const AttentionStep& step, const Layer& layer) const {
    if (options_.turn <= -1) return false;
    return LeastCosine(step.query(), layer.query, static_cast<std::size_t>(step.shape().head_dim)) <
           options_.turn;
  }

  // All sealed blocks are scored, so that shares are of the whole; what is chosen lies between the
  // windows.
  void StartRetrieval(AttentionStep& step, Layer& layer) {
    const SequenceShape& shape = step.shape();
    layer.query.assign(step.query().begin(), step.query().end());
    layer.step = step.step();
    layer.between = BlocksBetween(options_.windows, shape);
    layer.k = Share(layer.between.size(), options_.sparse_ratio);
    layer.first = step.step() == 0;
    layer.chosen.resize(static_cast<std::size_t>(shape.num_kv_heads));
    if (!layer.chooser) {
      layer.chooser = [this, &layer, group = shape.group_size()](
                          const RepresentationView&, BlockRange, const ScoreRows& scores,
                          std::span<std::vector<BlockIndex>> lists) {
        Choose(scores, group, layer, lists);
      };
    }
    layer.ticket = step.StartRetrieval(
        {.candidates = {0, static_cast<BlockIndex>(shape.sealed_blocks)},
         .query = layer.query,
         .score_of = ScoreOf::kHead,
         .rule = {.kind = ScoreRule::Kind::kLogMass,
                  .factor = 1.0f / std::sqrt(static_cast<float>(shape.head_dim))},
         .num_scores = shape.num_heads,
         .num_lists = shape.num_kv_heads,
         .chooser = &layer.chooser});
  }

  void Choose(const ScoreRows& scores, int group, Layer& layer,
              std::span<std::vector<BlockIndex>> lists) const {
    for (std::size_t head = 0; head < lists.size(); ++head) {
      Shares shares = GroupShares(scores, static_cast<int>(head) * group, group, layer.between);
      AddNeighbours(&shares.largest);
      ChooseForHead(std::move(shares), layer, layer.chosen[head], &lists[head]);
      layer.chosen[head] = lists[head];
    }
  }

  // What a head reads next may begin where the block it reads now ends.
  void AddNeighbours(std::vector<float>* shares) const {
    const auto part = static_cast<float>(options_.neighbours);
    float before = 0;
    for (std::size_t b = 0; b < shares->size(); ++b) {
      const float own = (*shares)[b];
      const float after = b + 1 < shares->size() ? (*shares)[b + 1] : 0;
      (*shares)[b] = own + part * (before + after);
      before = own;
    }
  }

  static Shares GroupShares(const ScoreRows& scores, int first_row, int group, BlockRange between) {
    Shares shares{.of = {},
                  .largest = std::vector<float>(static_cast<std::size_t>(between.size())),
                  .covered = {}};
    for (int r = first_row; r < first_row + group; ++r) {
      const std::vector<float>& of = shares.of.emplace_back(SharesOf(scores.row(r)));
      float outside = 0;
      for (std::size_t b = 0; b < of.size(); ++b) {
        const auto at = static_cast<std::int64_t>(b);
        if (at < between.begin || at >= between.end) {
          outside += of[b];
        } else {
          float& largest = shares.largest[b - static_cast<std::size_t>(between.begin)];
          largest = std::max(largest, of[b]);
        }
      }
      shares.covered.push_back(outside);
    }
    return shares;
  }

  // The best blocks until top_p is covered; of those that `before` has not, most_new at most and
  // none below least_share. What is left of the budget keeps the best of `before`.
  void ChooseForHead(Shares shares, const Layer& layer, const std::vector<BlockIndex>& before,
                     std::vector<BlockIndex>* list) const {
    list->clear();
    const BlockRange between = layer.between;
    if (between.size() == 0) return;
    const auto share = [&](BlockIndex block) {
      return shares.largest[static_cast<std::size_t>(block - between.begin)];
    };
    std::vector<bool> had(shares.largest.size());
    for (const BlockIndex block : before) {
      if (block < between.begin || block >= between.end) continue;
      had[static_cast<std::size_t>(block - between.begin)] = true;
    }
    const auto k = static_cast<std::size_t>(std::min<std::int64_t>(layer.k, between.size()));
    const bool all = layer.first || k == shares.largest.size();
    const auto least = static_cast<float>(options_.least_share);
    const auto is_had = [&](BlockIndex block) {
      return had[static_cast<std::size_t>(block - between.begin)];
    };
    std::vector<BlockIndex> order;
    for (BlockIndex block = between.begin; block < between.end; ++block) {
      if (all || is_had(block) || share(block) >= least) order.push_back(block);
    }
    std::sort(order.begin(), order.end(), [&](BlockIndex a, BlockIndex b) {
      return share(a) != share(b) ? share(a) > share(b) : a < b;
    });
    std::int64_t most_new = std::max<std::int64_t>(1, Share(layer.k, options_.most_new));
    for (std::size_t i = 0; i < order.size() && list->size() < k; ++i) {
      const bool is_new = !all && !is_had(order[i]);
      const bool covered =
          *std::min_element(shares.covered.begin(), shares.covered.end()) >= options_.top_p;
      if (is_new && (covered || most_new == 0)) continue;
      if (is_new) --most_new;
      list->push_back(order[i]);
      for (std::size_t r = 0; r < shares.of.size(); ++r) {
        shares.covered[r] += shares.of[r][static_cast<std::size_t>(order[i])];
      }
    }
    std::sort(list->begin(), list->end());
  }

  void StartLoad(AttentionStep& step, Layer& layer) const {
    const std::int64_t sealed = step.shape().sealed_blocks;
    std::vector<Selection> selections;
    for (const std::vector<BlockIndex>& list : step.Collect(std::exchange(layer.ticket, 0))) {
      selections.push_back(SelectAround(layer.between, list, sealed));
    }
    layer.selection.Load(step, std::move(selections));
  }

  void FinishRetrieval(AttentionStep& step, Layer& layer) const {
    StartLoad(step, layer);
    layer.selection.Adopt(step);
  }

  AdaptiveOptions options_;
  std::vector<Layer> layers_;
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateAdaptiveAttention(const Options& options) {
  OptionReader reader("Adaptive", options);
  AdaptiveOptions read;
  read.windows = ReadWindows(reader);
  read.min_blocks = reader.Int("min_blocks", read.min_blocks, 1, kMostWindowBlocks);
  read.sparse_ratio = reader.Real("sparse_ratio", read.sparse_ratio, 0.0, 1.0);
  read.top_p = reader.Real("top_p", read.top_p, 0.0, 1.0);
  read.retrieval_stride = reader.Int("retrieval_stride", read.retrieval_stride, 1, kMostStride);
  read.turn = reader.Real("turn", read.turn, -1.0, 1.0);
  read.most_new = reader.Real("most_new", read.most_new, 0.0, 1.0);
  read.least_share = reader.Real("least_share", read.least_share, 0.0, 1.0);
  read.neighbours = reader.Real("neighbours", read.neighbours, 0.0, 1.0);
  read.part_tokens = reader.Int("part_tokens", read.part_tokens, 0, 4096);
  read.variance = reader.Bool("variance", read.variance);
  read.type = ReadRepresentationType(reader, read.type);
  if (Status valid = reader.Finish(); !valid) return valid.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<AdaptiveAttention>(read));
}

}  // namespace esa
