// ESA's windows, budget and schedule with blocks drawn at random: what retrieval has to beat.
#include "base/random.h"

#include "sparse/windows.h"

namespace esa {
namespace {

struct RandomOptions {
  Windows windows;
  double sparse_ratio = 0.2;
  std::int64_t retrieval_stride = 5;
  std::int64_t seed = 0;
};

// k of the range's blocks, each set of k as likely as any other; sorted.
// Source: Knuth, The art of computer programming, vol. 2, algorithm 3.4.2 S.
std::vector<BlockIndex> Draw(BlockRange range, std::int64_t k, SplitMix64& random) {
  std::vector<BlockIndex> drawn;
  for (BlockIndex block = range.begin; block < range.end; ++block) {
    const std::int64_t wanted = k - static_cast<std::int64_t>(drawn.size());
    const auto left = static_cast<std::uint64_t>(range.end - block);
    if (random.Below(left) < static_cast<std::uint64_t>(wanted)) drawn.push_back(block);
  }
  return drawn;
}

class RandomAttention : public SparseAttention {
 public:
  explicit RandomAttention(const RandomOptions& options) : options_(options) {}

  std::int64_t ResidentBlocks(const SequenceShape& shape) const override {
    return ResidentBetween(options_.windows, options_.sparse_ratio, options_.retrieval_stride,
                           shape);
  }

  void AttentionBegin(AttentionStep& step) override {
    LayerSelection& layer = LayerOf(layers_, step);
    if (step.step() % options_.retrieval_stride == 1) layer.Adopt(step);
    layer.Attend(step);
  }

  void AttentionEnd(AttentionStep& step) override {
    if (step.step() % options_.retrieval_stride != 0) return;
    const BlockRange between = BlocksBetween(options_.windows, step.shape());
    SplitMix64 random = Generator(step);
    const std::vector<BlockIndex> drawn =
        Draw(between, Share(between.size(), options_.sparse_ratio), random);
    LayerOf(layers_, step).Load(step, SelectAround(between, drawn, step.shape().sealed_blocks));
  }

 private:
  // The same numbers for the same seed, layer and step, whatever was drawn before.
  SplitMix64 Generator(const AttentionStep& step) const {
    const std::uint64_t of_seed = SplitMix64(static_cast<std::uint64_t>(options_.seed)).Next();
    const auto layer = static_cast<std::uint64_t>(step.layer());
    const std::uint64_t of_layer = SplitMix64(of_seed ^ layer).Next();
    return SplitMix64(of_layer ^ static_cast<std::uint64_t>(step.step()));
  }

  const RandomOptions options_;
  std::vector<LayerSelection> layers_;
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateRandomAttention(const Options& options) {
  OptionReader reader("random", options);
  RandomOptions read;
  read.windows = ReadWindows(reader);
  read.sparse_ratio = reader.Real("sparse_ratio", read.sparse_ratio, 0.0, 1.0);
  read.retrieval_stride = reader.Int("retrieval_stride", read.retrieval_stride, 3, kMostStride);
  read.seed = reader.Int("seed", read.seed, 0, INT64_MAX);
  if (Status valid = reader.Finish(); !valid) return valid.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<RandomAttention>(read));
}

}  // namespace esa
