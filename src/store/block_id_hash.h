// Hash of a BlockId for unordered containers: ids are digests, so their first bytes will do.
#pragma once

#include <cstddef>
#include <cstring>

#include "esa/block_store.h"

namespace esa {

struct BlockIdHash {
  std::size_t operator()(const BlockId& id) const {
    std::size_t value;
    static_assert(sizeof(value) <= sizeof(id.bytes));
    std::memcpy(&value, id.bytes.data(), sizeof(value));
    return value;
  }
};

}  // namespace esa
