// A plug-in that attends to nothing but the tail. It links nothing: OptionReader is the host's.
#include <memory>

#include "esa/plugin.h"

namespace {

class TailOnly : public esa::SparseAttention {
 public:
  std::int64_t ResidentBlocks(const esa::SequenceShape&) const override { return 1; }
  void AttentionBegin(esa::AttentionStep& step) override { step.Attend({}); }
};

esa::Result<std::unique_ptr<esa::SparseAttention>> Make(const esa::Options& options) {
  if (esa::Status read = esa::OptionReader("tail_only", options).Finish(); !read) {
    return read.error();
  }
  return std::unique_ptr<esa::SparseAttention>(std::make_unique<TailOnly>());
}

esa::Status Register() { return esa::RegisterSparseAttention("tail_only", Make); }

}  // namespace

ESA_SPARSE_ATTENTION_PLUGIN(Register)
