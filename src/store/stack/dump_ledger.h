// The blocks that a stack of tiers has accepted and that its lower tier does not hold yet, and the
// bound on their bytes. Thread-safe.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "esa/block_store.h"
#include "store/block_id_hash.h"

namespace esa {

// How the slices of a block reach the lower tier.
enum class DumpPath {
  kBehind,   // into the upper tier; from there, when the block is whole, in the background
  kThrough,  // straight from the caller's buffers, and then into the upper tier if it has room
};

class DumpLedger {
 public:
  // queue_bytes: of blocks on kBehind, counted whole from their first slice on; one block may go
  // beyond it alone. 0: none goes behind.
  DumpLedger(const BlockLayout& layout, std::uint64_t queue_bytes);

  void Open(const BlockId& id);

  // Settled when first asked. nullopt: not open.
  std::optional<DumpPath> PathOf(const BlockId& id);

  // The upper tier refused slices of a block behind. True: it is on kThrough from now on, since the
  // upper tier took nothing of it; `*changed`: by this call.
  bool Redirect(const BlockId& id, bool* changed);

  enum class Progress { kOpen, kCommitted, kDone, kGone };

  // A tier took a slice. kCommitted: it was the last of a block behind in the upper tier, or of one
  // through in the lower. kDone: of both, and the entry is closed.
  Progress CountUpper(const BlockId& id);
  Progress CountLower(const BlockId& id);

  // The upper tier will not have this block on kThrough.
  Progress LoseUpper(const BlockId& id);
  bool UpperIsLost(const BlockId& id) const;

  // Closes the entry if its block is not committed. False: it is, or there is none.
  bool Abandon(const BlockId& id);
  void Close(const BlockId& id);

  struct Unwritten {
    std::uint64_t blocks = 0;  // committed in the upper tier alone
    std::uint64_t bytes = 0;   // of slices, also of blocks that are not committed
  };
  Unwritten Sum() const;

 private:
  struct Entry {
    std::optional<DumpPath> path;
    std::uint32_t upper = 0;  // slices it took
    std::uint32_t lower = 0;
    bool upper_lost = false;
  };
  using Entries = std::unordered_map<BlockId, Entry, BlockIdHash>;

  // These hold mutex_.
  bool Committed(const Entry& entry) const;
  Progress CloseIfDone(Entries::iterator at);
  void Erase(Entries::iterator at);

  const std::uint32_t num_slices_;
  const std::uint64_t slice_bytes_;
  const std::uint64_t block_bytes_;
  const std::uint64_t queue_bytes_;
  mutable std::mutex mutex_;
  Entries entries_;                 // guarded by mutex_
  std::uint64_t behind_bytes_ = 0;  // guarded by mutex_; of blocks on kBehind
};

}  // namespace esa
