#include "store/stack/tiers.h"

#include <utility>

namespace esa {
namespace {

// Beyond these all is forgotten and counted afresh: blocks that are used often come back.
constexpr std::size_t kMaxMetered = 65536;

}  // namespace

LoadMeter::LoadMeter(const BlockLayout& layout)
    : block_bytes_(layout.num_slices * (layout.slice_bytes + layout.representation_bytes)) {}

bool LoadMeter::Count(const BlockId& id, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (bytes_.size() >= kMaxMetered && !bytes_.contains(id)) bytes_.clear();
  std::uint64_t& sum = bytes_[id];
  sum += bytes;
  if (sum <= block_bytes_) return false;
  bytes_.erase(id);
  return true;
}

Tiers::Tiers(std::unique_ptr<BlockStore> upper, std::unique_ptr<BlockStore> lower,
             std::uint64_t queue_bytes)
    : layout_(upper->layout()),
      upper_(std::move(upper)),
      lower_(std::move(lower)),
      ledger_(layout_, queue_bytes),
      meter_(layout_),
      mover_(*upper_, *lower_, [this](const BlockMover::Outcome& outcome) { Moved(outcome); }) {}

std::uint64_t Tiers::PartBytes(std::uint32_t part) const {
  if (part == kTokens) return std::uint64_t{layout_.block_tokens} * sizeof(std::int32_t);
  if (part == kRepresentations) {
    return std::uint64_t{layout_.num_slices} * layout_.representation_bytes;
  }
  return layout_.slice_bytes;
}

void Tiers::Moved(const BlockMover::Outcome& outcome) {
  if (outcome.way == BlockMover::Way::kUp) {
    if (outcome.copied) Count([](StoreStats& stats) { ++stats.promoted_blocks; });
    return;
  }
  ledger_.Close(outcome.id);
  Release(outcome.id);
  // A pinned block that is not found was removed by its user meanwhile.
  if (outcome.status.ok() || outcome.status.error().code == ErrorCode::kCancelled ||
      outcome.status.error().code == ErrorCode::kNotFound) {
    return;
  }
  std::lock_guard lock(mutex_);
  counters_.dump_failures += layout_.num_slices;
  if (!error_) error_ = outcome.status.error();
}

Status Tiers::TakeError() {
  std::lock_guard lock(mutex_);
  if (!error_) return {};
  Error error = *std::move(error_);
  error_.reset();
  return error;
}

void Tiers::CountUpperMisses(std::uint64_t parts) {
  std::lock_guard lock(mutex_);
  upper_misses_ += parts;
}

StoreStats Tiers::counters(std::uint64_t* upper_misses) const {
  std::lock_guard lock(mutex_);
  *upper_misses = upper_misses_;
  return counters_;
}

}  // namespace esa
