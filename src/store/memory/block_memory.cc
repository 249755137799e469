#include "store/memory/block_memory.h"

#include <algorithm>
#include <utility>

namespace esa {
namespace {

// A region is as large as all before it, so that few are searched for a free slot; the first is 32
// huge pages.
constexpr std::uint64_t kFirstRegionBytes = 64u << 20;

constexpr std::uint64_t kPage = 4096;

}  // namespace

BlockMemory::BlockMemory(std::uint64_t block_bytes, std::uint64_t capacity_bytes)
    : slot_bytes_((block_bytes + kPage - 1) / kPage * kPage), capacity_bytes_(capacity_bytes) {}

Result<SliceSlot> BlockMemory::Take() {
  std::lock_guard lock(mutex_);
  for (const auto& region : regions_) {
    if (SliceSlot slot = region->Allocate()) return slot;
  }
  std::uint64_t bytes = std::max(kFirstRegionBytes, reserved_bytes_);
  if (capacity_bytes_ > reserved_bytes_) bytes = std::min(bytes, capacity_bytes_ - reserved_bytes_);
  bytes = std::max(bytes, slot_bytes_);
  auto region = SlicePool::Create(static_cast<std::int64_t>(slot_bytes_), bytes);
  if (!region) return region.error();
  reserved_bytes_ += bytes;
  regions_.push_back(*std::move(region));
  return regions_.back()->Allocate();
}

}  // namespace esa
