// What algorithms share that keep ESA's windows, budget and schedule and choose in another way: a
// selection once per stride, for each KV head or for a layer as a whole.
//
// Threading: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sparse/windows.h"

namespace esa {

struct PeriodicOptions {
  Windows windows;
  std::int64_t min_blocks = 4;
  double sparse_ratio = 0.2;
  std::int64_t retrieval_stride = 5;
  bool per_kv_head = true;       // a selection for each KV head, by the best of its query heads
  std::int64_t part_tokens = 0;  // of a representation; 0: the whole block
  RepresentationType type = RepresentationType::kF32;
};

// Reads ESA's options and per_kv_head; then the caller its own, and Finish.
PeriodicOptions ReadPeriodicOptions(OptionReader& reader);

// part_tokens and representation (f32, bf16 or int8), for algorithms with such statistics.
void ReadRepresentationOptions(OptionReader& reader, PeriodicOptions* options);

class PeriodicAttention : public SparseAttention {
 public:
  explicit PeriodicAttention(const PeriodicOptions& options) : options_(options) {}

  std::int64_t ResidentBlocks(const SequenceShape& shape) const override;
  void AttentionBegin(AttentionStep& step) override;
  void AttentionEnd(AttentionStep& step) override;
  bool Widen() override;

 protected:
  const PeriodicOptions& options() const { return options_; }

  // The statistics of the options, without any that are not always there.
  RepresentationSpec BaseSpec() const;

  // Completes a request that has candidates, k and lists: query and rule, or a scorer and a
  // chooser. `query` is the layer's own memory, kept until the request is collected.
  virtual void Ask(const AttentionStep& step, std::vector<float>* query,
                   RetrievalRequest* request) = 0;

  // Before Ask, at every decode step and at step 0.
  virtual void Observe(const AttentionStep& step) { (void)step; }

 private:
  struct Layer {
    BlockRange candidates;     // of the last retrieval
    std::vector<float> query;  // likewise
    RetrievalTicket ticket = 0;
    LayerSelection selection;
  };

  bool IsSparse(const SequenceShape& shape) const {
    return shape.prompt_tokens / shape.block_tokens >= options_.min_blocks;
  }
  void StartRetrieval(AttentionStep& step, Layer& layer);
  void StartLoad(AttentionStep& step, Layer& layer);

  PeriodicOptions options_;
  std::vector<Layer> layers_;
};

// The query of the step for every query head: what ScoreOf::kHead takes.
void AskByHead(const AttentionStep& step, const ScoreRule& rule, std::vector<float>* query,
               RetrievalRequest* request);

}  // namespace esa
