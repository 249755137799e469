#include "store/block_index.h"

namespace esa {

const BlockIndex::Entry* BlockIndex::Find(const BlockId& id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second.entry;
}

void BlockIndex::Enqueue(const BlockId& id, Slot* slot) {
  slot->order_us = slot->entry.stamp_us;
  order_.emplace(slot->order_us, id);
}

void BlockIndex::Put(const BlockId& id, Entry entry) {
  Erase(id);
  Slot& slot = entries_.emplace(id, Slot{entry}).first->second;
  bytes_ += entry.bytes;
  if (!Pinned(id)) Enqueue(id, &slot);
}

bool BlockIndex::Erase(const BlockId& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return false;
  bytes_ -= found->second.entry.bytes;
  order_.erase({found->second.order_us, id});
  entries_.erase(found);
  return true;
}

bool BlockIndex::Touch(const BlockId& id, Entry entry) {
  entry.unmarked = true;
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.entry.stamp_us > entry.stamp_us) {
    const bool marked = found == entries_.end() || !found->second.entry.unmarked;
    Put(id, entry);
    return marked;
  }
  Entry& known = found->second.entry;
  const bool marked = !known.unmarked;
  bytes_ += entry.bytes - known.bytes;
  known = entry;
  return marked;
}

void BlockIndex::SetMarked(const BlockId& id) {
  const auto found = entries_.find(id);
  if (found != entries_.end()) found->second.entry.unmarked = false;
}

void BlockIndex::Pin(const BlockId& id) {
  if (++pins_[id] > 1) return;
  const auto found = entries_.find(id);
  if (found != entries_.end()) order_.erase({found->second.order_us, id});
}

void BlockIndex::Unpin(const BlockId& id) {
  const auto pin = pins_.find(id);
  if (pin == pins_.end() || --pin->second > 0) return;
  pins_.erase(pin);
  const auto found = entries_.find(id);
  if (found != entries_.end()) Enqueue(id, &found->second);
}

std::optional<BlockId> BlockIndex::Oldest() {
  while (!order_.empty()) {
    const auto [order_us, id] = *order_.begin();
    Slot& slot = entries_.at(id);
    if (slot.entry.stamp_us == order_us) return id;
    order_.erase(order_.begin());
    Enqueue(id, &slot);
  }
  return std::nullopt;
}

}  // namespace esa
