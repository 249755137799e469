// Who counts as recently used: stamps in microseconds since 1970, given so that a block's parent
// is never evicted before it.
//
// A chain of blocks is worth nothing from its first gap on, so the end of a chain must go first:
//  - a new block is stamped just below its parent when the parent is stored or being written,
//    else with now (StampBelow, RecencyClock::Take(1));
//  - the hits of one lookup are stamped from now downwards in their order, and keys come in the
//    order of the chain: the first is the most recent (Take(hits)).
// What the blocks of a chain share is thus the time of the last lookup or the first write.
#pragma once

#include <cstdint>
#include <mutex>

namespace esa {

inline std::int64_t StampBelow(std::int64_t parent_stamp_us) { return parent_stamp_us - 1; }

// Wall-clock time that never repeats within a process. Thread-safe.
class RecencyClock {
 public:
  // The last of `count` stamps above all given before: the caller owns (result - count, result].
  std::int64_t Take(std::int64_t count);

 private:
  std::mutex mutex_;
  std::int64_t last_us_ = 0;  // guarded by mutex_
};

}  // namespace esa
