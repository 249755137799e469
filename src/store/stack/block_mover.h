// Copies whole blocks between two tiers in the background: down after a dump, up before a load.
//
// One thread moves the bytes of both ways through a few staging buffers, up before down, several
// buffers at a time. What hangs one way does not stop the other, unless a tier hangs in a call that
// should return at once; what the mover is asked by its users never waits for a tier.
// Threading: all methods from any thread.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <unordered_map>
#include <vector>

#include "esa/block_store.h"
#include "kv/slice_pool.h"
#include "store/block_id_hash.h"

namespace esa {

class BlockMover {
 public:
  enum class Way : std::size_t { kUp, kDown };

  struct Outcome {
    Way way = Way::kUp;
    BlockId id;
    Status status = {};   // kCancelled: dropped, or stopped
    bool copied = false;  // false: it was there already, or failed
  };

  // Copies of one way that may wait their turn.
  static constexpr std::size_t kMaxQueuedUp = 1024;

  // on_end is called on the mover's thread when a copy has ended, before anyone is told that it
  // has. The tiers outlive the mover.
  BlockMover(BlockStore& upper, BlockStore& lower, std::function<void(const Outcome&)> on_end);
  ~BlockMover();  // as Stop, and waits for the thread

  // Copies a block that is committed and pinned above, and open below. Failing, it abandons the
  // latter. Never refused: whoever dumps bounds the bytes.
  void Down(const BlockId& id);

  // Copies a block that is committed below. False: too many wait. True also when it is on its way.
  bool Up(const BlockId& id);

  // Whether the block is on its way up; if so, it goes next.
  bool HurryUp(const BlockId& id);
  bool IsMovingUp(const BlockId& id) const;

  // True: it is not on its way up (any more), or `cancelled`; see Wake.
  bool WaitUp(const BlockId& id, BlockStore::Deadline deadline, const std::atomic<bool>& cancelled);
  void Wake();  // those that wait, to look at `cancelled`

  // Ends the copies of a block, and returns when nothing touches it any more. kDeadlineExceeded.
  Status Drop(const BlockId& id, BlockStore::Deadline deadline);

  // Tells the lower tier of hits that the upper one answered, so that it does not evict first what
  // is used most. Keys in the order of their chain; too many at a time are left out.
  void Use(std::span<const BlockKey> keys);

  // Returns when all that was asked by Down and Use before has ended. False: the deadline passed.
  bool WaitDown(BlockStore::Deadline deadline);

  // Drops everything. False: the deadline passed and the thread has not ended.
  bool Stop(BlockStore::Deadline deadline);

  // Of the lookups below that Use made.
  std::uint64_t used_hits() const { return used_hits_; }
  std::uint64_t used_misses() const { return used_misses_; }

 private:
  struct Move {
    Way way = Way::kUp;
    BlockId id;
    std::uint64_t number = 0;           // by rising time of the request
    std::atomic<bool> dropped = false;  // of what follows only the thread knows
    bool has_head = false;
    bool is_open = false;  // in the tier it goes to, for this move
    bool found = false;    // is there already
    Status status = {};
    std::vector<std::int32_t> tokens;        // [block_tokens]; of a move up
    std::vector<std::byte> representations;  // [num_slices, representation_bytes]
    std::uint32_t next_slice = 0;
    std::uint32_t steps = 0;  // under way
  };

  enum class Kind { kFind, kHead, kRead, kWrite };
  struct Step {
    std::shared_ptr<Move> move;
    Kind kind = Kind::kFind;
    BlockStore* store = nullptr;
    TaskId task = 0;
    SliceSlot buffer = {};  // of kRead and kWrite
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    bool cancelled = false;
  };

  using Moves = std::unordered_map<BlockId, std::shared_ptr<Move>, BlockIdHash>;
  struct Lane {
    Moves moves;                              // guarded by mutex_; all that have not ended
    std::deque<std::shared_ptr<Move>> queue;  // guarded by mutex_; those that wait
    std::list<std::shared_ptr<Move>> active;  // the thread's
    std::unique_ptr<SlicePool> buffers;       // the thread's
  };
  struct UsedKey {
    BlockId id;
    std::vector<std::int32_t> tokens;
  };

  Lane& LaneOf(Way way) { return lanes_[static_cast<std::size_t>(way)]; }
  const Lane& LaneOf(Way way) const { return lanes_[static_cast<std::size_t>(way)]; }
  BlockStore& From(const Move& move) const { return move.way == Way::kUp ? lower_ : upper_; }
  BlockStore& To(const Move& move) const { return move.way == Way::kUp ? upper_ : lower_; }
  void Enqueue(Way way, const BlockId& id);  // holds mutex_

  // All below run on the thread.
  void Run(std::stop_token stop);
  bool Fill(Way way);
  bool TakeQueued(Way way);
  bool ReapEnded();
  void CancelDropped();
  void WaitForOne();
  bool RunUses(const std::stop_token& stop);
  bool Sleep(std::stop_token stop);

  void Start(Step step, Result<TaskId> task);
  void StartHead(const std::shared_ptr<Move>& move);
  void StartRead(const std::shared_ptr<Move>& move, SliceSlot buffer);
  void StartWrite(Step read);
  void End(Step step, const Result<TaskResult>& result);
  void EndHead(const std::shared_ptr<Move>& move);
  void EndMoveIfDone(const std::shared_ptr<Move>& move);

  BlockStore& upper_;
  BlockStore& lower_;
  const BlockLayout layout_;
  const std::uint32_t slices_per_buffer_;
  const std::function<void(const Outcome&)> on_end_;
  std::list<Step> steps_;  // the thread's; under way, the oldest first
  std::atomic<std::uint64_t> used_hits_ = 0;
  std::atomic<std::uint64_t> used_misses_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable_any work_;       // for the thread
  std::condition_variable changed_;        // for those that wait for it
  std::array<Lane, 2> lanes_;              // by Way
  std::uint64_t next_number_ = 0;          // guarded by mutex_
  std::deque<std::vector<UsedKey>> uses_;  // guarded by mutex_
  std::size_t waiting_uses_ = 0;           // guarded by mutex_; keys
  std::uint64_t asked_uses_ = 0;           // guarded by mutex_; calls
  std::uint64_t done_uses_ = 0;            // guarded by mutex_; calls
  bool ended_ = false;                     // guarded by mutex_; the thread
  std::jthread thread_;                    // last: it uses all of the above
};

}  // namespace esa
