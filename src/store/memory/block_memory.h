// The memory of a memory store's blocks: equal slots in huge pages, reserved as they are needed.
//
// Nothing is zeroed and nothing is touched before a block is written to it; what was touched is
// kept for later blocks until the end. Threading: all methods, and the destruction of slots, from
// any thread; slots must be gone before this is.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "esa/result.h"
#include "kv/slice_pool.h"

namespace esa {

class BlockMemory {
 public:
  // block_bytes: of one slot, rounded up to a multiple of 4096. capacity_bytes: no more than this
  // is reserved ahead of need; 0: not bounded.
  BlockMemory(std::uint64_t block_bytes, std::uint64_t capacity_bytes);

  // kResourceExhausted: the system gives no more.
  Result<SliceSlot> Take();

 private:
  const std::uint64_t slot_bytes_;
  const std::uint64_t capacity_bytes_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<SlicePool>> regions_;  // guarded by mutex_
  std::uint64_t reserved_bytes_ = 0;                 // guarded by mutex_
};

}  // namespace esa
