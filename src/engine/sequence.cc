#include "engine/sequence.h"

#include "base/check.h"
#include "ops/attention.h"

namespace esa {

void Sequence::Finish(RetrievalPool* retrieval) {
  for (const RetrievalTicket ticket : retrievals) retrieval->Drop(ticket);
  retrievals.clear();
  algorithm->SequenceFinished();
}

void Sequence::FallBackToDense(RetrievalPool* retrieval) {
  auto dense = CreateSparseAttention("dense", {});
  ESA_CHECK(dense);
  Finish(retrieval);
  algorithm = std::move(*dense);
  stats.fell_back_to_dense = true;
}

void Sequence::SumUpAudits() {
  if (stats.audited_steps == 0) return;
  stats.missed_by_head.clear();
  double sum = 0;
  for (const double total : missed) {
    stats.missed_by_head.push_back(
        static_cast<float>(total / static_cast<double>(stats.audited_steps)));
    sum += total;
  }
  stats.missed_mass =
      sum / static_cast<double>(stats.audited_steps) / static_cast<double>(missed.size());
}

std::span<const float> Sequence::SealLayer(int layer, std::int64_t block) {
  const KvGeometry& geometry = cache.geometry();
  const auto dim = static_cast<std::size_t>(geometry.slice.head_dim);
  means.resize(static_cast<std::size_t>(geometry.num_kv_heads) * dim);
  for (int head = 0; head < geometry.num_kv_heads; ++head) {
    const std::byte* slice = cache.At(layer, head, block).slot.data();
    float* mean = means.data() + static_cast<std::size_t>(head) * dim;
    MeanKey(geometry.slice, slice, 0, geometry.slice.block_tokens, mean);
    if (representations.MeansAreAll()) {
      representations.SetMean(layer, block, head, mean);
    } else {
      representations.Seal(layer, block, head, slice);
    }
  }
  return means;
}

}  // namespace esa
