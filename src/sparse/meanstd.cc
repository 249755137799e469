// MeanStd: a block is scored by its mean key plus the standard deviation of its keys in the
// direction of the query, channels taken as independent. A block of which one key stands out has a
// mean that hides it and a deviation that shows it.
#include "sparse/periodic.h"

namespace esa {
namespace {

class MeanStdAttention final : public PeriodicAttention {
 public:
  MeanStdAttention(const PeriodicOptions& options, double deviations)
      : PeriodicAttention(options), deviations_(static_cast<float>(deviations)) {}

  RepresentationSpec Representations() const override {
    RepresentationSpec spec = BaseSpec();
    spec.variance = true;
    return spec;
  }

 private:
  void Ask(const AttentionStep& step, std::vector<float>* query,
           RetrievalRequest* request) override {
    AskByHead(step, {.kind = ScoreRule::Kind::kDeviation, .factor = deviations_}, query, request);
  }

  const float deviations_;
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateMeanStdAttention(const Options& options) {
  OptionReader reader("MeanStd", options);
  PeriodicOptions read = ReadPeriodicOptions(reader);
  ReadRepresentationOptions(reader, &read);
  const double deviations = reader.Real("deviations", 4.0, 0.0, 1000.0);
  if (Status valid = reader.Finish(); !valid) return valid.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<MeanStdAttention>(read, deviations));
}

}  // namespace esa
