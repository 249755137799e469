// Attends to everything: what the other algorithms are compared with.
#include "sparse/windows.h"

namespace esa {
namespace {

class DenseAttention : public SparseAttention {
 public:
  std::int64_t ResidentBlocks(const SequenceShape& shape) const override {
    return shape.num_blocks();
  }
  void AttentionBegin(AttentionStep& step) override { all_.Attend(step); }

 private:
  LayerSelection all_;
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateDenseAttention(const Options& options) {
  if (Status read = OptionReader("dense", options).Finish(); !read) return read.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<DenseAttention>());
}

}  // namespace esa
