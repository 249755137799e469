// Quest: a block is scored by the highest score that a key between its least and largest key, by
// channel, could have.
// Source: Tang et al.: Quest: Query-aware sparsity for efficient long-context LLM inference, ICML
// 2024.
#include "sparse/periodic.h"

namespace esa {
namespace {

class QuestAttention final : public PeriodicAttention {
 public:
  using PeriodicAttention::PeriodicAttention;

  RepresentationSpec Representations() const override {
    RepresentationSpec spec = BaseSpec();
    spec.bounds = true;
    return spec;
  }

 private:
  void Ask(const AttentionStep& step, std::vector<float>* query,
           RetrievalRequest* request) override {
    AskByHead(step, {.kind = ScoreRule::Kind::kBounds}, query, request);
  }
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateQuestAttention(const Options& options) {
  OptionReader reader("Quest", options);
  PeriodicOptions read = ReadPeriodicOptions(reader);
  ReadRepresentationOptions(reader, &read);
  if (Status valid = reader.Finish(); !valid) return valid.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<QuestAttention>(read));
}

}  // namespace esa
