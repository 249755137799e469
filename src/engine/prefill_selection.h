// Which blocks the queries of a prompt attend to in sparse prefill.
//
// A tile of consecutive queries and the heads of one KV head's group choose together. Each query is
// weighed against the mean keys of parts of blocks; its softmax over them says where its attention
// would go, and what the tile's queries give a block is summed. The blocks with the largest sums
// are attended, and the first block and those near the tile always. A selection depends on tokens
// at or before the tile's end alone, and a block is a whole number of tiles: what is computed for a
// block depends on its prefix alone, as in dense prefill. Sources of block-sparse prefill by pooled
// keys: Jiang et al., MInference, 2024; Lai et al., FlexPrefill, 2025.
#pragma once

#include <cstdint>
#include <vector>

#include "esa/config.h"
#include "esa/sparse_attention.h"
#include "kv/geometry.h"

namespace esa {

class PrefillSelection {
 public:
  PrefillSelection(const KvGeometry& geometry, const PrefillConfig& config,
                   std::int64_t max_blocks);

  // Queries of a tile begin at multiples of this.
  int tile_tokens() const { return tile_tokens_; }

  // Describes a full block of the layer at hand. Different blocks and heads may be described by
  // different threads at once.
  void Describe(std::int64_t block, int kv_head, const std::byte* slice);

  // A tile's queries of one KV head: row r, head h of the group at q + r * row_stride +
  // h * head_dim.
  struct Tile {
    const float* q = nullptr;
    std::int64_t row_stride = 0;
    std::int64_t first_position = 0;
    int num_rows = 0;
    int kv_head = 0;
    int group = 0;
  };

  // The full blocks before those near the tile that it attends to, rising; all blocks before its
  // first position must have been described. Returns the first block that is attended whatever it
  // scores. Safe to call from several threads.
  std::int64_t Select(const Tile& tile, std::vector<BlockIndex>* blocks) const;

 private:
  const KvGeometry geometry_;
  const double ratio_;
  const int tile_tokens_;
  const int parts_;  // of a block
  const std::int64_t max_blocks_;
  std::vector<float> means_;  // [num_kv_heads, max_blocks, parts, head_dim]
};

// What a fingerprint of the model has to be followed by for the ids of blocks that are computed as
// `config` says: nothing for dense ones.
std::vector<std::uint8_t> ComputationMark(const PrefillConfig& config);

}  // namespace esa
