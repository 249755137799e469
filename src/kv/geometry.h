// The shape of a model's KV cache and the layout of one slice's bytes.
//
// A slice is K and V of one block, one layer, one KV head, laid out as the attention kernels
// stream it: units of 32 bits along the inner product's dimension, pairs of bf16 (what the
// dot-product instructions eat), single f32, or four int8:
//
//   K tile [head_dim / pack][block_tokens][pack]      pack = 2 (bf16), 1 (f32) or 4 (int8)
//   V tile [block_tokens / pack][head_dim][pack]
//   int8: scales of the keys, f32 [block_tokens], then those of the values
//
// padded to `slice_bytes`, a multiple of 4096, so that a slice is one aligned read.
#pragma once

#include <cstdint>

#include "esa/config.h"

namespace esa {

inline constexpr std::int64_t kSliceAlignment = 4096;

struct SliceLayout {
  int block_tokens = 0;  // even, of int8 a multiple of 4
  int head_dim = 0;      // likewise
  KvDtype dtype = KvDtype::kBf16;

  int pack() const { return static_cast<int>(4 / value_bytes()); }
  std::int64_t value_bytes() const {
    return dtype == KvDtype::kBf16 ? 2 : dtype == KvDtype::kInt8 ? 1 : 4;
  }
  std::int64_t scale_bytes() const {
    return dtype == KvDtype::kInt8 ? 2 * block_tokens * std::int64_t{sizeof(float)} : 0;
  }
  std::int64_t tile_bytes() const { return value_bytes() * block_tokens * head_dim; }
  std::int64_t slice_bytes() const {
    const std::int64_t bytes = 2 * tile_bytes() + scale_bytes();
    return (bytes + kSliceAlignment - 1) / kSliceAlignment * kSliceAlignment;
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
