// ESA: every few steps the blocks whose mean keys best match the query are retrieved and loaded
// beside decoding. The specification is "ESA, exactly" in ARCHITECTURE.md.
#include <utility>

#include "sparse/windows.h"

namespace esa {
namespace {

struct EsaOptions {
  Windows windows;
  std::int64_t min_blocks = 4;
  double sparse_ratio = 0.2;
  std::int64_t retrieval_stride = 5;
};

class EsaAttention : public SparseAttention {
 public:
  explicit EsaAttention(const EsaOptions& options) : options_(options) {}

  std::int64_t ResidentBlocks(const SequenceShape& shape) const override {
    if (!IsSparse(shape)) return shape.num_blocks();
    return ResidentBetween(options_.windows, options_.sparse_ratio, options_.retrieval_stride,
                           shape);
  }

  void AttentionBegin(AttentionStep& step) override {
    Layer& layer = LayerOf(layers_, step);
    if (step.step() % options_.retrieval_stride == 1) layer.selection.Adopt(step);
    layer.selection.Attend(step);
  }

  void AttentionEnd(AttentionStep& step) override {
    if (!IsSparse(step.shape())) return;
    Layer& layer = LayerOf(layers_, step);
    const std::int64_t phase = step.step() % options_.retrieval_stride;
    if (step.step() == 0 || phase == 2) StartRetrieval(step, layer);
    if (phase == 0) StartLoad(step, layer);
  }

 private:
  struct Layer {
    BlockRange candidates;     // of the last retrieval
    std::vector<float> query;  // of the last retrieval, [num_kv_heads, head_dim]
    RetrievalTicket ticket = 0;
    LayerSelection selection;
  };

  bool IsSparse(const SequenceShape& shape) const {
    // Without a product that could overflow: prompt_tokens >= block_tokens * min_blocks.
    return shape.prompt_tokens / shape.block_tokens >= options_.min_blocks;
  }

  void StartRetrieval(AttentionStep& step, Layer& layer) const {
    layer.candidates = BlocksBetween(options_.windows, step.shape());
    const std::int64_t top_k = Share(layer.candidates.size(), options_.sparse_ratio);
    if (top_k == 0) return;
    GroupMeanQuery(step, &layer.query);
    layer.ticket =
        step.StartRetrieval({.candidates = layer.candidates, .k = top_k, .query = layer.query});
  }

  // What was sealed since the retrieval started lies behind its candidates, so it is attended.
  void StartLoad(AttentionStep& step, Layer& layer) const {
    std::span<const BlockIndex> best;
    if (layer.ticket != 0) best = step.Collect(std::exchange(layer.ticket, 0))[0];
    layer.selection.Load(step, SelectAround(layer.candidates, best, step.shape().sealed_blocks));
  }

  const EsaOptions options_;
  std::vector<Layer> layers_;
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateEsaAttention(const Options& options) {
  OptionReader reader("ESA", options);
  EsaOptions read;
  read.windows = ReadWindows(reader);
  read.min_blocks = reader.Int("min_blocks", read.min_blocks, 1, kMostWindowBlocks);
  read.sparse_ratio = reader.Real("sparse_ratio", read.sparse_ratio, 0.0, 1.0);
  read.retrieval_stride = reader.Int("retrieval_stride", read.retrieval_stride, 3, kMostStride);
  if (Status valid = reader.Finish(); !valid) return valid.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<EsaAttention>(read));
}

}  // namespace esa
