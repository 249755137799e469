// How much of KV memory a sequence needs.
#pragma once

#include <algorithm>
#include <cstdint>

#include "esa/sparse_attention.h"
#include "kv/geometry.h"

namespace esa {

// Slots that it needs at once.
struct SequenceSlots {
  std::int64_t decode = 0;   // what its algorithm keeps
  std::int64_t prefill = 0;  // a layer of the prompt, and the ends of the others
};

// `shape`: as it is at the end.
inline SequenceSlots SlotsOf(const KvGeometry& geometry, const SequenceShape& shape,
                             const SparseAttention& algorithm) {
  const std::int64_t blocks = shape.num_blocks();
  // The block that decode fills and the one before stay until they are dumped.
  const std::int64_t kept = std::min(blocks, algorithm.ResidentBlocks(shape) + 2);
  return {.decode = kept * geometry.slices_per_block(),
          .prefill = (blocks + geometry.num_layers) * geometry.num_kv_heads};
}

}  // namespace esa
