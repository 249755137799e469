#include "engine/sequence.h"

#include "ops/attention.h"

namespace esa {

std::span<const float> Sequence::SealLayer(int layer, std::int64_t block) {
  const KvGeometry& geometry = cache.geometry();
  const auto dim = static_cast<std::size_t>(geometry.slice.head_dim);
  means.resize(static_cast<std::size_t>(geometry.num_kv_heads) * dim);
  for (int head = 0; head < geometry.num_kv_heads; ++head) {
    const std::byte* slice = cache.At(layer, head, block).slot.data();
    float* mean = means.data() + static_cast<std::size_t>(head) * dim;
    MeanKey(geometry.slice, slice, geometry.slice.block_tokens, mean);
    if (representations.MeansAreAll()) {
      representations.SetMean(layer, block, head, mean);
    } else {
      representations.Seal(layer, block, head, slice);
    }
  }
  return means;
}

}  // namespace esa
