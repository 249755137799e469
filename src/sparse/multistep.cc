// MultiStep: the queries of the last steps vote. Each looks for its k best blocks by mean keys,
// with its weakest channels left out; blocks with the most votes win, then those with the best
// score.
// Source: the idea of KVStar in UCM
// (https://github.com/ModelEngine-Group/unified-cache-management), without its code.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "sparse/periodic.h"

namespace esa {
namespace {

struct VoteOptions {
  std::int64_t queries = 4;  // that vote
  double channels = 0.5;     // kept, of each KV head's query
};

// The k candidates with the most votes, sorted; equal votes: the better sum of scores.
void CountVotes(std::int64_t k, std::int64_t num_queries, BlockRange candidates,
                const ScoreRows& scores, std::vector<BlockIndex>* chosen) {
  const std::int64_t count = candidates.size();
  k = std::min(k, count);
  std::vector<std::pair<int, float>> votes(static_cast<std::size_t>(count));
  std::vector<BlockIndex> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  const auto best_first = [&](auto value) {
    std::partial_sort(order.begin(), order.begin() + k, order.end(),
                      [&](BlockIndex a, BlockIndex b) {
                        const auto x = value(static_cast<std::size_t>(a));
                        const auto y = value(static_cast<std::size_t>(b));
                        return x != y ? x > y : a < b;
                      });
  };
  for (std::int64_t r = 0; r < num_queries; ++r) {
    const std::span<const float> row = scores.row(r);
    best_first([&](std::size_t i) { return row[i]; });
    for (std::int64_t i = 0; i < k; ++i) ++votes[static_cast<std::size_t>(order[i])].first;
    for (std::size_t i = 0; i < votes.size(); ++i) votes[i].second += row[i];
  }
  best_first([&](std::size_t i) { return votes[i]; });
  chosen->assign(order.begin(), order.begin() + k);
  std::sort(chosen->begin(), chosen->end());
  for (BlockIndex& block : *chosen) block += candidates.begin;
}

class MultiStepAttention final : public PeriodicAttention {
 public:
  MultiStepAttention(const PeriodicOptions& options, const VoteOptions& votes)
      : PeriodicAttention(options), votes_(votes) {}

  RepresentationSpec Representations() const override { return BaseSpec(); }

 private:
  struct Layer {
    std::vector<std::vector<float>> recent;  // queries of the last steps, the latest first
    std::int64_t k = 0;                      // of the last retrieval
    BlockChooser chooser;
  };

  void Observe(const AttentionStep& step) override {
    std::vector<std::vector<float>>& recent = LayerOf(layers_, step).recent;
    if (std::ssize(recent) < votes_.queries) recent.emplace_back();
    std::rotate(recent.begin(), recent.end() - 1, recent.end());
    GroupMeanQuery(step, &recent.front());
    Prune(step.shape(), &recent.front());
  }

  void Ask(const AttentionStep& step, std::vector<float>* query,
           RetrievalRequest* request) override {
    Layer& layer = LayerOf(layers_, step);
    query->clear();
    for (const std::vector<float>& one : layer.recent) {
      query->insert(query->end(), one.begin(), one.end());
    }
    const std::int64_t voters = std::ssize(layer.recent);
    layer.chooser = [voters, k = request->k](const RepresentationView&, BlockRange candidates,
                                             const ScoreRows& scores,
                                             std::span<std::vector<BlockIndex>> lists) {
      CountVotes(k, voters, candidates, scores, &lists[0]);
    };
    request->query = *query;
    request->num_scores = static_cast<int>(voters);
    request->num_lists = 1;
    request->chooser = &layer.chooser;
  }

  // Sets the channels of least magnitude to zero, in each KV head.
  void Prune(const SequenceShape& shape, std::vector<float>* query) const {
    const auto dim = static_cast<std::size_t>(shape.head_dim);
    const auto kept = static_cast<std::size_t>(std::ceil(votes_.channels * shape.head_dim));
    if (kept >= dim) return;
    std::vector<float> sizes(dim);
    for (auto head = query->begin(); head != query->end(); head += shape.head_dim) {
      std::transform(head, head + shape.head_dim, sizes.begin(),
                     [](float q) { return std::abs(q); });
      const auto first_kept = sizes.end() - static_cast<std::ptrdiff_t>(kept);
      std::nth_element(sizes.begin(), first_kept, sizes.end());
      std::replace_if(
          head, head + shape.head_dim,
          [least = *first_kept](float q) { return std::abs(q) < least; }, 0.0f);
    }
  }

  const VoteOptions votes_;
  std::vector<Layer> layers_;
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateMultiStepAttention(const Options& options) {
  OptionReader reader("MultiStep", options);
  PeriodicOptions read = ReadPeriodicOptions(reader);
  ReadRepresentationOptions(reader, &read);
  VoteOptions votes;
  votes.queries = reader.Int("queries", votes.queries, 1, 64);
  votes.channels = reader.Real("channels", votes.channels, 0.01, 1.0);
  if (Status valid = reader.Finish(); !valid) return valid.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<MultiStepAttention>(read, votes));
}

}  // namespace esa
