// What the tasks of a stack share: its two tiers, what is on its way between them, and counters.
//
// The upper tier is the nearer and faster one. Either may be a stack itself. Thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "esa/block_store.h"
#include "store/stack/block_mover.h"
#include "store/stack/dump_ledger.h"

namespace esa {

// How much of which block was loaded from the lower tier, to tell which are worth a whole copy.
class LoadMeter {
 public:
  explicit LoadMeter(const BlockLayout& layout);

  // True when more bytes of the block were loaded than it has: it has been paid for once, and is
  // used again. Counts from zero then.
  bool Count(const BlockId& id, std::uint64_t bytes);

 private:
  const std::uint64_t block_bytes_;
  std::mutex mutex_;
  std::unordered_map<BlockId, std::uint64_t, BlockIdHash> bytes_;  // guarded by mutex_
};

class Tiers {
 public:
  // queue_bytes: of blocks that the lower tier does not hold yet; 0: writes go through.
  Tiers(std::unique_ptr<BlockStore> upper, std::unique_ptr<BlockStore> lower,
        std::uint64_t queue_bytes);

  BlockStore& upper() { return *upper_; }
  BlockStore& lower() { return *lower_; }
  const BlockStore& upper() const { return *upper_; }
  const BlockStore& lower() const { return *lower_; }
  DumpLedger& ledger() { return ledger_; }
  const DumpLedger& ledger() const { return ledger_; }
  LoadMeter& meter() { return meter_; }
  BlockMover& mover() { return mover_; }
  const BlockMover& mover() const { return mover_; }
  std::uint64_t PartBytes(std::uint32_t part) const;

  // The ledger's entry of a block is closed: the upper tier may evict it again.
  void Release(const BlockId& id) { upper_->Unpin({&id, 1}); }

  // The first error of writing behind since the last call.
  Status TakeError();

  // Parts that the upper tier failed to load and the lower was asked for: no failures to its user.
  void CountUpperMisses(std::uint64_t parts);

  // What the user of the stack sees, without the tiers' own; upper_misses: see above.
  StoreStats counters(std::uint64_t* upper_misses) const;

  template <class Change>
  void Count(Change change) {
    std::lock_guard lock(mutex_);
    change(counters_);
  }

 private:
  void Moved(const BlockMover::Outcome& outcome);

  const BlockLayout layout_;
  std::unique_ptr<BlockStore> upper_;
  std::unique_ptr<BlockStore> lower_;
  DumpLedger ledger_;
  LoadMeter meter_;
  mutable std::mutex mutex_;
  StoreStats counters_;             // guarded by mutex_
  std::uint64_t upper_misses_ = 0;  // guarded by mutex_
  std::optional<Error> error_;      // guarded by mutex_
  BlockMover mover_;                // last: its thread uses all of the above
};

}  // namespace esa
