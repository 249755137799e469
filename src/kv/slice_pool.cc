#include "kv/slice_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace esa {
namespace {

constexpr std::size_t kHugePage = 2u << 20;

}  // namespace

SliceSlot::SliceSlot(SliceSlot&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), data_(std::exchange(other.data_, nullptr)) {}

SliceSlot& SliceSlot::operator=(SliceSlot&& other) noexcept {
  if (this != &other) {
    Reset();
    pool_ = std::exchange(other.pool_, nullptr);
    data_ = std::exchange(other.data_, nullptr);
  }
  return *this;
}

void SliceSlot::Reset() {
  if (pool_ != nullptr) std::exchange(pool_, nullptr)->Release(std::exchange(data_, nullptr));
}

Result<std::unique_ptr<SlicePool>> SlicePool::Create(std::int64_t slot_bytes,
                                                     std::uint64_t budget_bytes) {
  ESA_CHECK(slot_bytes > 0 && slot_bytes % 4096 == 0);
  const std::int64_t slots = static_cast<std::int64_t>(budget_bytes) / slot_bytes;
  if (slots < 1) {
    return InvalidArgument("KV memory of " + std::to_string(budget_bytes) +
                           " bytes holds no slice of " + std::to_string(slot_bytes) + " bytes");
  }
  const std::size_t bytes = static_cast<std::size_t>(slots * slot_bytes);
  const std::size_t mapped = (bytes + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return ResourceExhausted("cannot reserve " + std::to_string(mapped) +
                             " bytes of KV memory: " + std::strerror(errno));
  }
  madvise(memory, mapped, MADV_HUGEPAGE);
  return std::unique_ptr<SlicePool>(
      new SlicePool(static_cast<std::byte*>(memory), mapped, slot_bytes, slots));
}

SlicePool::SlicePool(std::byte* base, std::size_t mapped, std::int64_t slot_bytes,
                     std::int64_t num_slots)
    : base_(base), mapped_bytes_(mapped), slot_bytes_(slot_bytes), num_slots_(num_slots) {
  free_.resize(static_cast<std::size_t>(num_slots));
  // Lowest slots first: what is not needed is never touched.
  for (std::int64_t i = 0; i < num_slots; ++i) {
    free_[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(num_slots - 1 - i);
  }
}

SlicePool::~SlicePool() {
  if (keep_mapped_) return;
  ESA_CHECK(used_ == 0);
  munmap(base_, mapped_bytes_);
}

namespace {

std::byte* AlignUp(std::byte* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return p + ((kHugePage - address % kHugePage) % kHugePage);
}

}  // namespace

SliceSlot SlicePool::Allocate() {
  std::lock_guard lock(mutex_);
  if (free_.empty()) return {};
  const std::int32_t slot = free_.back();
  free_.pop_back();
  peak_ = std::max(peak_, ++used_);
  return SliceSlot(this, AlignUp(base_) + slot * slot_bytes_);
}

void SlicePool::Release(std::byte* data) {
  std::lock_guard lock(mutex_);
  free_.push_back(static_cast<std::int32_t>((data - AlignUp(base_)) / slot_bytes_));
  --used_;
}

std::int64_t SlicePool::used_slots() const {
  std::lock_guard lock(mutex_);
  return used_;
}

std::int64_t SlicePool::peak_slots() const {
  std::lock_guard lock(mutex_);
  return peak_;
}

void SlicePool::ResetPeak() {
  std::lock_guard lock(mutex_);
  peak_ = used_;
}

}  // namespace esa
