// The first blocks and the last ones, nothing between them.
// Source: Xiao et al.: Efficient streaming language models with attention sinks, ICLR 2024.
#include <algorithm>

#include "sparse/windows.h"

namespace esa {
namespace {

class StreamingAttention : public SparseAttention {
 public:
  explicit StreamingAttention(const Windows& windows) : windows_(windows) {}

  // One more than the windows: a block that leaves is let go when the next one is begun.
  std::int64_t ResidentBlocks(const SequenceShape& shape) const override {
    return std::min(shape.num_blocks(), windows_.init + windows_.local + 1);
  }

  void AttentionBegin(AttentionStep& step) override {
    LayerSelection& layer = LayerOf(layers_, step);
    layer.Adopt(step);
    layer.Attend(step);
  }

  // The window of the next step, where it differs from this one's.
  void AttentionEnd(AttentionStep& step) override {
    const SequenceShape& shape = step.shape();
    SequenceShape next = shape;
    ++next.context_tokens;
    if (step.step() != 0 && next.num_blocks() == shape.num_blocks()) return;
    next.sealed_blocks = shape.context_tokens / shape.block_tokens;
    const BlockRange between = BlocksBetween(windows_, next);
    LayerOf(layers_, step).Load(step, SelectAround(between, {}, shape.sealed_blocks));
  }

 private:
  const Windows windows_;
  std::vector<LayerSelection> layers_;
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateStreamingAttention(const Options& options) {
  OptionReader reader("streaming", options);
  const Windows windows = ReadWindows(reader);
  if (Status read = reader.Finish(); !read) return read.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<StreamingAttention>(windows));
}

}  // namespace esa
