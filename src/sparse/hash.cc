// Hash: every key is a code of the signs of random projections; a block is scored by the key whose
// code is nearest to the query's in Hamming distance.
// Source: Charikar: Similarity estimation techniques from rounding algorithms, STOC 2002; codes of
// keys for attention as in Gong et al.: HATA, 2025, here without trained projections.
#include "sparse/periodic.h"

namespace esa {
namespace {

class HashAttention final : public PeriodicAttention {
 public:
  HashAttention(const PeriodicOptions& options, std::int64_t code_bits)
      : PeriodicAttention(options), code_bits_(static_cast<int>(code_bits)) {}

  RepresentationSpec Representations() const override {
    RepresentationSpec spec = BaseSpec();
    spec.code_bits = code_bits_;
    return spec;
  }

 private:
  void Ask(const AttentionStep& step, std::vector<float>* query,
           RetrievalRequest* request) override {
    AskByHead(step, {.kind = ScoreRule::Kind::kCodes}, query, request);
  }

  const int code_bits_;
};

}  // namespace

Result<std::unique_ptr<SparseAttention>> CreateHashAttention(const Options& options) {
  OptionReader reader("Hash", options);
  const PeriodicOptions read = ReadPeriodicOptions(reader);
  const std::int64_t words = reader.Int("code_words", 2, 1, 16);
  if (Status valid = reader.Finish(); !valid) return valid.error();
  return std::unique_ptr<SparseAttention>(std::make_unique<HashAttention>(read, 64 * words));
}

}  // namespace esa
