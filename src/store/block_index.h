// The committed blocks of one folder, or of memory, ordered by recency; says what to evict.
//
// Recency is a stamp in microseconds since 1970, larger is more recent (recency.h says who gives
// which). Pins are counted and may name blocks that are not in the index (yet).
// Threading: none of its own; the owner locks.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "esa/block_store.h"
#include "store/block_id_hash.h"

namespace esa {

class BlockIndex {
 public:
  struct Entry {
    std::uint64_t bytes = 0;
    std::int64_t stamp_us = 0;
    bool unmarked = false;  // the stamp is newer than what the owner of the index wrote down
  };

  const Entry* Find(const BlockId& id) const;  // valid until the next change

  void Put(const BlockId& id, Entry entry);  // adds or replaces
  bool Erase(const BlockId& id);             // false: was not there; pins stay

  // As Put, at the price of one look into a hash table where the block is known and the stamp does
  // not fall. Sets `unmarked`; true: it was not set before.
  bool Touch(const BlockId& id, Entry entry);
  void SetMarked(const BlockId& id);

  void Pin(const BlockId& id);
  void Unpin(const BlockId& id);  // without a pin: nothing

  // The least recently used block without a pin.
  std::optional<BlockId> Oldest();

  std::uint64_t blocks() const { return entries_.size(); }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Slot {
    Entry entry;
    std::int64_t order_us = 0;  // its key in order_, if it is there: the stamp or an earlier one
  };

  bool Pinned(const BlockId& id) const { return pins_.contains(id); }
  void Enqueue(const BlockId& id, Slot* slot);

  std::unordered_map<BlockId, Slot, BlockIdHash> entries_;
  std::unordered_map<BlockId, std::uint32_t, BlockIdHash> pins_;
  // Of the entries without a pin. Hits leave it as it is, Oldest mends what comes to its front.
  std::set<std::pair<std::int64_t, BlockId>> order_;
  std::uint64_t bytes_ = 0;
};

}  // namespace esa
