// The names of a store's keys on the server; docs/formats/redis.md tells them in prose.
#pragma once

#include <cstdint>
#include <string>

#include "esa/block_store.h"

namespace esa {

class RedisKeyNames {
 public:
  explicit RedisKeyNames(const BlockLayout& layout);

  std::string BlockOf(const BlockId& id) const { return block_prefix_ + id.Hex(); }
  std::string AllBlocks() const { return block_prefix_ + "*"; }  // a pattern of SCAN
  std::string TemporaryOf(const BlockId& id, const std::string& owner, std::uint64_t n) const {
    return "esa:t:" + id.Hex() + ":" + owner + ":" + std::to_string(n);
  }
  std::string QuarantineOf(const BlockId& id) const { return "esa:q:" + id.Hex(); }

 private:
  const std::string block_prefix_;
};

}  // namespace esa
