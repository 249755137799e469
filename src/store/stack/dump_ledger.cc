#include "store/stack/dump_ledger.h"

namespace esa {

DumpLedger::DumpLedger(const BlockLayout& layout, std::uint64_t queue_bytes)
    : num_slices_(layout.num_slices),
      slice_bytes_(layout.slice_bytes),
      block_bytes_(layout.num_slices * layout.slice_bytes),
      queue_bytes_(queue_bytes) {}

void DumpLedger::Open(const BlockId& id) {
  std::lock_guard lock(mutex_);
  entries_.emplace(id, Entry{});
}

std::optional<DumpPath> DumpLedger::PathOf(const BlockId& id) {
  std::lock_guard lock(mutex_);
  const auto at = entries_.find(id);
  if (at == entries_.end()) return std::nullopt;
  Entry& entry = at->second;
  if (entry.path) return entry.path;
  const bool fits = behind_bytes_ == 0 || behind_bytes_ + block_bytes_ <= queue_bytes_;
  entry.path = queue_bytes_ > 0 && fits ? DumpPath::kBehind : DumpPath::kThrough;
  if (entry.path == DumpPath::kBehind) behind_bytes_ += block_bytes_;
  return entry.path;
}

bool DumpLedger::Redirect(const BlockId& id, bool* changed) {
  std::lock_guard lock(mutex_);
  *changed = false;
  const auto at = entries_.find(id);
  if (at == entries_.end() || at->second.upper > 0) return false;
  Entry& entry = at->second;
  if (entry.path == DumpPath::kThrough) return entry.upper_lost;
  *changed = true;
  entry.path = DumpPath::kThrough;
  entry.upper_lost = true;
  behind_bytes_ -= block_bytes_;
  return true;
}

bool DumpLedger::Committed(const Entry& entry) const {
  return (entry.path == DumpPath::kBehind ? entry.upper : entry.lower) == num_slices_;
}

DumpLedger::Progress DumpLedger::CloseIfDone(Entries::iterator at) {
  const Entry& entry = at->second;
  if (!Committed(entry)) return Progress::kOpen;
  if (entry.path == DumpPath::kBehind) return Progress::kCommitted;
  if (entry.upper < num_slices_ && !entry.upper_lost) return Progress::kCommitted;
  Erase(at);
  return Progress::kDone;
}

DumpLedger::Progress DumpLedger::CountUpper(const BlockId& id) {
  std::lock_guard lock(mutex_);
  const auto at = entries_.find(id);
  if (at == entries_.end()) return Progress::kGone;
  ++at->second.upper;
  return CloseIfDone(at);
}

DumpLedger::Progress DumpLedger::CountLower(const BlockId& id) {
  std::lock_guard lock(mutex_);
  const auto at = entries_.find(id);
  if (at == entries_.end()) return Progress::kGone;
  ++at->second.lower;
  return CloseIfDone(at);
}

DumpLedger::Progress DumpLedger::LoseUpper(const BlockId& id) {
  std::lock_guard lock(mutex_);
  const auto at = entries_.find(id);
  if (at == entries_.end()) return Progress::kGone;
  at->second.upper_lost = true;
  return CloseIfDone(at);
}

bool DumpLedger::UpperIsLost(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  const auto at = entries_.find(id);
  return at == entries_.end() || at->second.upper_lost;
}

bool DumpLedger::Abandon(const BlockId& id) {
  std::lock_guard lock(mutex_);
  const auto at = entries_.find(id);
  if (at == entries_.end() || Committed(at->second)) return false;
  Erase(at);
  return true;
}

void DumpLedger::Close(const BlockId& id) {
  std::lock_guard lock(mutex_);
  const auto at = entries_.find(id);
  if (at != entries_.end()) Erase(at);
}

void DumpLedger::Erase(Entries::iterator at) {
  if (at->second.path == DumpPath::kBehind) behind_bytes_ -= block_bytes_;
  entries_.erase(at);
}

DumpLedger::Unwritten DumpLedger::Sum() const {
  std::lock_guard lock(mutex_);
  Unwritten sum;
  for (const auto& [id, entry] : entries_) {
    if (entry.path != DumpPath::kBehind) continue;
    sum.bytes += entry.upper * slice_bytes_;
    if (entry.upper == num_slices_) ++sum.blocks;
  }
  return sum;
}

}  // namespace esa
