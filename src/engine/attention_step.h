// The services an algorithm is given at one layer of one step, over working set and retrieval.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include "engine/engine_core.h"
#include "esa/sparse_attention.h"

namespace esa {

// What an algorithm said at a step. Kept by whoever makes steps, so that none has to allocate.
struct StepAnswers {
  // What Attend named, by KV head; none: nothing yet.
  std::vector<std::vector<BlockIndex>> selections;
  bool has_selections = false;

  // What AddEstimate named.
  struct Estimate {
    int head = 0;
    float log_weight = 0;
    std::vector<float> value;  // [head_dim]
  };
  std::vector<Estimate> estimates;

  void Clear() {
    for (std::vector<BlockIndex>& blocks : selections) blocks.clear();
    has_selections = false;
    estimates.clear();
  }
};

class EngineStep final : public AttentionStep {
 public:
  EngineStep(const EngineCore& core, Sequence& sequence, int layer, std::int64_t step,
             const SequenceShape& shape, std::span<const float> query, StepAnswers* answers)
      : core_(core),
        sequence_(sequence),
        layer_(layer),
        step_(step),
        shape_(shape),
        query_(query),
        answers_(*answers) {
    answers_.Clear();
  }

  int layer() const override { return layer_; }
  std::int64_t step() const override { return step_; }
  const SequenceShape& shape() const override { return shape_; }
  std::span<const float> query() const override { return query_; }
  RepresentationView representations() const override {
    return sequence_.representations.View(layer_, shape_.sealed_blocks);
  }
  void Attend(std::span<const BlockIndex> blocks, int kv_head) override;
  RetrievalTicket StartRetrieval(const RetrievalRequest& request) override;
  BlockLists Collect(RetrievalTicket ticket) override;
  void StartLoad(std::span<const BlockIndex> blocks, int kv_head) override;
  std::vector<BlockIndex> WaitLoad() override;
  Status AttentionMass(std::span<float> mass) override;
  void AddEstimate(int head, float log_weight, std::span<const float> value) override;

 private:
  const EngineCore& core_;
  Sequence& sequence_;
  int layer_;
  std::int64_t step_;
  SequenceShape shape_;
  std::span<const float> query_;
  StepAnswers& answers_;
};

}  // namespace esa
