// Oracle: at every step, for each KV head, the blocks that have the most attention mass, exactly.
// It reads all keys to know them: the ceiling that retrieval can reach, for evaluation only.
#include <algorithm>
#include <numeric>

#include "sparse/windows.h"

namespace esa {
namespace {

struct OracleOptions {
  Windows windows;
  double sparse_ratio = 0.2;
};

class OracleAttention final : public SparseAttention {
 public:
  explicit OracleAttention(const OracleOptions& options) : options_(options) {}

  std::int64_t ResidentBlocks(const SequenceShape& shape) const override {
    return ResidentBetween(options_.windows, options_.sparse_ratio, 1, shape);
  }

  void AttentionBegin(AttentionStep& step) override {
    const SequenceShape& shape = step.shape();
    LayerSelection& layer = LayerOf(layers_, step);
    const BlockRange between = BlocksBetween(options_.windows, shape);
    mass_.resize(static_cast<std::size_t>(shape.num_heads * shape.num_blocks()));
    // Where a key cannot be read, the last selection has to do.
    if (step.AttentionMass(mass_)) {
      std::vector<Selection> selections;
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        selections.push_back(
            SelectAround(between, Best(shape, between, head), shape.sealed_blocks));
      }
      layer.Load(step, std::move(selections));
      layer.Adopt(step);
    }
    layer.Attend(step);
  }

  bool Widen() override {
    if (options_.sparse_ratio >= 1) return false;
    options_.sparse_ratio = std::min(1.0, std::max(0.01, 2 * options_.sparse_ratio));
    return true;
  }

 private:
  // The blocks with the largest mass of any query head of the KV head, sorted.
  std::vector<BlockIndex> Best(const SequenceShape& shape, BlockRange between, int kv_head) const {
    const auto mass_of = [&](BlockIndex block) {
      float largest = 0;
      for (int r = 0; r < shape.group_size(); ++r) {
        const std::int64_t head = std::int64_t{kv_head} * shape.group_size() + r;
        largest =
            std::max(largest, mass_[static_cast<std::size_t>(head * shape.num_blocks() + block)]);
      }
      return largest;
    };
    std::vector<BlockIndex> blocks(static_cast<std::size_t>(between.size()));
    std::iota(blocks.begin(), blocks.end(), between.begin);
    const std::int64_t k = Share(between.size(), options_.sparse_ratio);
    std::vector<float> masses;
    for (const BlockIndex block : blocks) masses.push_back(mass_of(block));
    std::partial_sort(blocks.begin(), blocks.begin() + k, blocks.end(),
                      [&](BlockIndex a, BlockIndex b) {
                        const float x = masses[static_cast<std::size_t>(a - between.begin)];
                        const float y = masses[static_cast<std::size_t>(b - between.begin)];
                        return x != y ? x > y : a < b;
                      });
    blocks.resize(static_cast<std::size_t>(k));
    std::sort(blocks.begin(), blocks.end());
    return blocks;
  }

  OracleOptions options_;
  std::vector<LayerSelection> layers_;
  std::vector<float> mass_;  // [num_heads, num_blocks]
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateOracleAttention(const Options& options) {
  OptionReader reader("Oracle", options);
  OracleOptions read;
  read.windows = ReadWindows(reader);
  read.sparse_ratio = reader.Real("sparse_ratio", read.sparse_ratio, 0.0, 1.0);
  if (Status valid = reader.Finish(); !valid) return valid.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<OracleAttention>(read));
}

}  // namespace esa
