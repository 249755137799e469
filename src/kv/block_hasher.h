// Names blocks: id = HMAC-SHA256(key, parent id | token ids), cut to 128 bits, where the key covers
// everything that decides a block's bytes: weights, geometry, value type, and the tenant's salt.
//
// Immutable after construction; safe to share between threads.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "kv/geometry.h"

namespace esa {

class BlockHasher {
 public:
  // `computation`: the model's fingerprint, and what else decides how its KV is computed.
  BlockHasher(std::span<const std::uint8_t> computation, const KvGeometry& geometry,
              const std::string& tenant);

  // The parent of a sequence's first block.
  BlockId Root() const { return root_; }

  // tokens: [block_tokens].
  BlockId Next(const BlockId& parent, std::span<const std::int32_t> tokens) const;

  // Ids of the full blocks of a token sequence, in order.
  std::vector<BlockId> Chain(std::span<const std::int32_t> tokens) const;

 private:
  BlockId Digest(std::span<const std::uint8_t> message) const;

  std::array<std::uint8_t, 32> key_{};
  BlockId root_;
  int block_tokens_;
};

}  // namespace esa
