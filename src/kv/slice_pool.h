// A slab of equal slots, one slice each, with a fixed budget in bytes: the working set's memory.
//
// Memory is reserved at once, 2 MiB-aligned and advised to huge pages, and touched as it is used.
// A slot is held by a SliceSlot, which gives it back when destroyed; its bytes are the holder's.
// Threading: Allocate and the destruction of slots are thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "esa/result.h"

namespace esa {

class SlicePool;

// Move-only ownership of one slot. Empty when default-constructed or moved from.
class SliceSlot {
 public:
  SliceSlot() = default;
  SliceSlot(SliceSlot&& other) noexcept;
  SliceSlot& operator=(SliceSlot&& other) noexcept;
  ~SliceSlot() { Reset(); }

  explicit operator bool() const { return pool_ != nullptr; }
  std::byte* data() const { return data_; }
  void Reset();
  void Leak() { pool_ = nullptr; }  // never given back

 private:
  friend class SlicePool;
  SliceSlot(SlicePool* pool, std::byte* data) : pool_(pool), data_(data) {}
  SlicePool* pool_ = nullptr;
  std::byte* data_ = nullptr;
};

class SlicePool {
 public:
  // slot_bytes: a multiple of 4096. Error: the budget holds no slot, or memory cannot be had.
  static Result<std::unique_ptr<SlicePool>> Create(std::int64_t slot_bytes,
                                                   std::uint64_t budget_bytes);
  ~SlicePool();
  SlicePool(const SlicePool&) = delete;
  SlicePool& operator=(const SlicePool&) = delete;

  // An empty slot when none is free.
  SliceSlot Allocate();

  // From now on the memory stays mapped when the pool goes, for a slot whose bytes somebody else
  // still reads or writes: a disk that hangs.
  void KeepMapped() { keep_mapped_ = true; }

  std::int64_t slot_bytes() const { return slot_bytes_; }
  std::int64_t num_slots() const { return num_slots_; }
  std::int64_t used_slots() const;
  std::int64_t peak_slots() const;  // since the last ResetPeak
  void ResetPeak();

 private:
  friend class SliceSlot;
  SlicePool(std::byte* base, std::size_t mapped, std::int64_t slot_bytes, std::int64_t num_slots);
  void Release(std::byte* data);

  std::byte* const base_;
  const std::size_t mapped_bytes_;
  const std::int64_t slot_bytes_;
  const std::int64_t num_slots_;
  bool keep_mapped_ = false;
  mutable std::mutex mutex_;
  std::vector<std::int32_t> free_;  // guarded by mutex_
  std::int64_t used_ = 0;           // guarded by mutex_
  std::int64_t peak_ = 0;           // guarded by mutex_
};

}  // namespace esa
