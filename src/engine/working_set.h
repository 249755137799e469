// Which slices of which sequences are in fast memory: the one owner of residency.
//
// A slice is absent, loading or resident. It may be evicted when it is resident, in the store, and
// not pinned; slices that a sequence said it will attend to (kept) go last. Loads and dumps are
// tasks of the store; their results take effect when this class looks at them.
// Threading: one thread, the engine's; the store's threads touch only the bytes of slots named in
// tasks under way.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "esa/block_store.h"
#include "esa/sparse_attention.h"
#include "kv/geometry.h"
#include "kv/slice_pool.h"

namespace esa {

// One slice of one sequence, and its place in the eviction order.
struct SliceEntry {
  enum class State : std::uint8_t { kAbsent, kLoading, kResident };
  SliceSlot slot;
  SliceEntry* previous = nullptr;
  SliceEntry* next = nullptr;
  std::uint32_t pins = 0;
  State state = State::kAbsent;
  bool durable = false;  // the store has it, or will when its block is committed
  bool kept = false;     // a layer said that it will attend to it
};

// The slices of one sequence, block table included. Made and finished by a WorkingSet.
class SequenceCache {
 public:
  SequenceCache(const KvGeometry& geometry, std::int64_t max_blocks)
      : geometry_(geometry),
        max_blocks_(max_blocks),
        entries_(static_cast<std::size_t>(geometry.slices_per_block() * max_blocks)),
        ids_(static_cast<std::size_t>(max_blocks)),
        kept_(static_cast<std::size_t>(geometry.slices_per_block())),
        sealed_(static_cast<std::size_t>(geometry.slices_per_block())),
        loads_(static_cast<std::size_t>(geometry.num_layers)) {}

  SliceEntry& At(int layer, int kv_head, std::int64_t block) {
    return entries_[static_cast<std::size_t>(geometry_.slice_index(layer, kv_head) * max_blocks_ +
                                             block)];
  }
  bool Holds(int layer, const SliceEntry& entry) const {
    const std::int64_t per_layer = geometry_.num_kv_heads * max_blocks_;
    const SliceEntry* first = entries_.data() + layer * per_layer;
    const std::less<const SliceEntry*> before;  // also of what lies in another table
    return !before(&entry, first) && before(&entry, first + per_layer);
  }
  BlockId& id(std::int64_t block) { return ids_[static_cast<std::size_t>(block)]; }
  std::int64_t max_blocks() const { return max_blocks_; }
  const KvGeometry& geometry() const { return geometry_; }

 private:
  friend class WorkingSet;
  struct Load {
    TaskId task = 0;
    std::vector<SliceEntry*> entries;  // by the task's part
    std::vector<BlockIndex> blocks;    // likewise
  };

  KvGeometry geometry_;
  std::int64_t max_blocks_;
  std::vector<SliceEntry> entries_;  // [slice index][block]
  std::vector<BlockId> ids_;
  std::vector<std::vector<BlockIndex>> kept_;  // by slice index, sorted
  std::vector<std::int64_t> sealed_;           // by slice index, when kept_ was said
  std::vector<std::vector<Load>> loads_;       // by layer
};

struct WorkingSetCounters {
  std::uint64_t loaded_bytes = 0;
  std::uint64_t visited_bytes = 0;  // read for Visit
  std::uint64_t dumped_bytes = 0;
  double crew_seconds = 0;  // the crew was at work on loads
  std::int64_t failed_loads = 0;
  std::int64_t failed_dumps = 0;
  std::string first_dump_error;
};

class WorkingSet {
 public:
  // store may be null: then nothing can be evicted. Both outlive this object. crew: copies what
  // loads need not wait for; empty: the store's own threads do.
  WorkingSet(SlicePool* pool, BlockStore* store, std::chrono::milliseconds timeout, Crew crew = {})
      : pool_(pool), store_(store), timeout_(timeout), crew_(std::move(crew)) {}
  // Waits for what is under way; what hangs beyond the timeout keeps its memory.
  ~WorkingSet();

  // A slot for a slice to be computed, pinned once. Evicts, or waits for a dump, when none is
  // free. kResourceExhausted when everything resident is needed.
  Status Create(SequenceCache& cache, int layer, int kv_head, std::int64_t block);

  void Pin(SliceEntry& entry);
  void Unpin(SliceEntry& entry);

  // Dumps slices of one layer of a block opened in the store; `means` [kv_heads, head_dim].
  void Dump(SequenceCache& cache, int layer, std::int64_t block, const float* means);

  // Says what a layer (one KV head or all) will attend to, of the `sealed_blocks` there are now,
  // and starts loading what is absent.
  struct Kept {
    std::int64_t resident = 0;  // slices that were there already, or are on their way
    std::int64_t fetched = 0;   // that were not kept before, those sealed since then aside
  };
  Kept Keep(SequenceCache& cache, int layer, int kv_head, std::span<const BlockIndex> blocks,
            std::int64_t sealed_blocks);

  // Ends a layer's loads and loads again what of its kept slices was evicted meanwhile. Returns
  // blocks that could not be loaded, sorted.
  std::vector<BlockIndex> FinishLoads(SequenceCache& cache, int layer);

  // Pins the slices of these blocks, loading what is absent; those that could not be loaded are
  // not pinned and are returned. kResourceExhausted, and nothing pinned: they do not fit together.
  Result<std::vector<BlockIndex>> PinResident(SequenceCache& cache, int layer, int kv_head,
                                              std::span<const BlockIndex> blocks);

  // Calls visit(block, bytes) for each of the blocks. What is not resident is read into memory of
  // its own, valid for the call; residency stays as it is. Error: a slice could not be read.
  Status Visit(SequenceCache& cache, int layer, int kv_head, BlockRange blocks,
               const std::function<void(BlockIndex, const std::byte*)>& visit);

  // Starts loading kept slices that were evicted, as far as there is room.
  void RestoreKept(SequenceCache& cache);

  // Gives up a layer's or a sequence's slices; nothing of it is loaded or dumped afterwards.
  void DropLayer(SequenceCache& cache, int layer);
  void Finish(SequenceCache& cache);

  // A block that could not even be opened in the store.
  void CountFailedDump(const Error& error);

  // Waits for all dumps under way.
  void DrainDumps();

  // Waits for a task of the store no longer than the timeout, then cancels it. When even that does
  // not end it, its buffers are parked: `buffer` is kept until the task lets go of it.
  Result<TaskResult> WaitTask(TaskId task, std::shared_ptr<void> buffer);

  SlicePool& pool() { return *pool_; }
  BlockStore* store() { return store_; }
  const WorkingSetCounters& counters() const { return counters_; }

 private:
  struct PendingDump {
    TaskId task = 0;
    std::vector<SliceEntry*> entries;
  };
  // A load that the store was not asked for yet.
  struct NewLoad {
    SequenceCache::Load slices;
    std::vector<SliceRead> reads;  // likewise, by the task's part
  };
  // What a task that hangs may still read or write.
  struct Parked {
    TaskId task = 0;
    std::vector<SliceSlot> slots = {};
    std::vector<SliceEntry*> dumped = {};  // still in use here, pinned
    std::shared_ptr<void> buffer = {};
  };
  struct Order {  // least recently used first
    SliceEntry* first = nullptr;
    SliceEntry* last = nullptr;
  };

  Order& OrderOf(const SliceEntry& entry) { return entry.kept ? kept_ : loose_; }
  bool Evictable(const SliceEntry& entry) const {
    return entry.state == SliceEntry::State::kResident && entry.durable && entry.pins == 0;
  }
  void Enlist(SliceEntry& entry);
  void Unlist(SliceEntry& entry);
  void SetKept(SliceEntry& entry, bool kept);
  void Forget(SliceEntry& entry);
  bool Evict(bool kept_too);
  Error Full() const;
  SliceSlot Allocate(bool kept_too);
  void FinishDump(const PendingDump& dump);
  bool WaitOldestDump();
  bool WaitOldestLoad();
  void ReapDumps();
  Result<TaskResult> Await(TaskId task, bool* hangs);
  void ReapParked();
  void ParkDumped(SequenceCache& cache, int layer);
  void LeakParked();
  // Gives absent slices a slot and adds them to a load, as long as there is room.
  void AddToLoad(SequenceCache& cache, int layer, int kv_head, std::span<const BlockIndex> blocks,
                 bool kept_too, NewLoad* load);
  void StartLoad(SequenceCache& cache, int layer, NewLoad load);
  Result<TaskId> Submit(std::vector<SliceRead> reads);
  void LoadKept(SequenceCache& cache, int layer, bool kept_too);
  void FailLoad(SliceEntry& entry);
  Status VisitStored(SequenceCache& cache, int layer, int kv_head,
                     std::span<const BlockIndex> blocks,
                     const std::function<void(BlockIndex, const std::byte*)>& visit);
  void EndLoads(SequenceCache& cache, int layer, std::vector<BlockIndex>* failed);

  SlicePool* pool_;
  BlockStore* store_;
  std::chrono::milliseconds timeout_;
  Crew crew_;
  bool store_hangs_ = false;  // the latest task waited for did not end in time
  std::vector<Parked> parked_;
  Order loose_;
  Order kept_;
  std::deque<PendingDump> dumps_;
  std::deque<std::pair<SequenceCache*, int>> loads_;  // sequences and layers with loads under way
  WorkingSetCounters counters_;
};

}  // namespace esa
