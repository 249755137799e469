// The shape of a model's KV cache and the layout of one slice's bytes.
//
// A slice is K and V of one block, one layer, one KV head, laid out as the attention kernels
// stream it: for 16-bit values both tiles hold pairs along their inner product's dimension (what
// the dot-product instructions eat), for f32 the pairs are single values:
//
//   K tile [head_dim / pack][block_tokens][pack]      pack = 2 (bf16) or 1 (f32)
//   V tile [block_tokens / pack][head_dim][pack]
//
// padded to `slice_bytes`, a multiple of 4096, so that a slice is one aligned read.
#pragma once

#include <cstdint>

#include "esa/config.h"

namespace esa {

inline constexpr std::int64_t kSliceAlignment = 4096;

struct SliceLayout {
  int block_tokens = 0;  // even
  int head_dim = 0;      // even
  KvDtype dtype = KvDtype::kBf16;

  int pack() const { return dtype == KvDtype::kBf16 ? 2 : 1; }
  std::int64_t value_bytes() const { return dtype == KvDtype::kBf16 ? 2 : 4; }
  std::int64_t tile_bytes() const { return value_bytes() * block_tokens * head_dim; }
  std::int64_t slice_bytes() const {
    return (2 * tile_bytes() + kSliceAlignment - 1) / kSliceAlignment * kSliceAlignment;
  }
  bool operator==(const SliceLayout&) const = default;
};

struct KvGeometry {
  int num_layers = 0;
  int num_kv_heads = 0;
  SliceLayout slice;

  int slices_per_block() const { return num_layers * num_kv_heads; }
  int slice_index(int layer, int kv_head) const { return layer * num_kv_heads + kv_head; }
  std::int64_t block_bytes() const { return slices_per_block() * slice.slice_bytes(); }
  bool operator==(const KvGeometry&) const = default;
};

}  // namespace esa
