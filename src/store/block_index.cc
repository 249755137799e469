#include "store/block_index.h"

namespace esa {

const BlockIndex::Entry* BlockIndex::Find(const BlockId& id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

void BlockIndex::Put(const BlockId& id, Entry entry) {
  Erase(id);
  entries_.emplace(id, entry);
  bytes_ += entry.bytes;
  if (!Pinned(id)) order_.emplace(entry.stamp_us, id);
}

bool BlockIndex::Erase(const BlockId& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return false;
  bytes_ -= found->second.bytes;
  order_.erase({found->second.stamp_us, id});
  entries_.erase(found);
  return true;
}

void BlockIndex::Pin(const BlockId& id) {
  if (++pins_[id] > 1) return;
  if (const Entry* entry = Find(id)) order_.erase({entry->stamp_us, id});
}

void BlockIndex::Unpin(const BlockId& id) {
  const auto pin = pins_.find(id);
  if (pin == pins_.end() || --pin->second > 0) return;
  pins_.erase(pin);
  if (const Entry* entry = Find(id)) order_.emplace(entry->stamp_us, id);
}

std::optional<BlockId> BlockIndex::Oldest() const {
  if (order_.empty()) return std::nullopt;
  return order_.begin()->second;
}

}  // namespace esa
