// Mean keys of one sequence: [num_layers][max_blocks][num_kv_heads, head_dim], f32.
//
// Threading: one thread writes rows; workers read rows that were written before their retrieval
// was started. Memory never moves.
#pragma once

#include <cstdint>
#include <vector>

#include "esa/sparse_attention.h"

namespace esa {

class RepresentationTable {
 public:
  RepresentationTable(int num_layers, int num_kv_heads, int head_dim, std::int64_t max_blocks)
      : num_kv_heads_(num_kv_heads),
        head_dim_(head_dim),
        max_blocks_(max_blocks),
        means_(static_cast<std::size_t>(num_layers * max_blocks * num_kv_heads * head_dim)) {}

  // [head_dim]
  float* Mean(int layer, std::int64_t block, int kv_head) {
    return means_.data() + ((layer * max_blocks_ + block) * num_kv_heads_ + kv_head) * head_dim_;
  }

  // The first num_blocks blocks of a layer.
  RepresentationView View(int layer, std::int64_t num_blocks) const {
    return {.mean = means_.data() + layer * max_blocks_ * num_kv_heads_ * head_dim_,
            .num_blocks = num_blocks,
            .num_kv_heads = num_kv_heads_,
            .head_dim = head_dim_};
  }

 private:
  int num_kv_heads_;
  int head_dim_;
  std::int64_t max_blocks_;
  std::vector<float> means_;
};

}  // namespace esa
