// The verbs of a stack of two stores; what is asynchronous about them is stack/tasks.h's.
#include "store/stacked_store.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "store/stack/composite_task.h"
#include "store/stack/tasks.h"
#include "store/stack/tiers.h"

namespace esa {
namespace {

// How long the destructor waits, after the bound on writing, for tiers to let go of what was
// cancelled: a healthy tier does within one request to its disk.
constexpr std::chrono::milliseconds kLetGo{1000};

// One call of Prefetch brings up what half of the upper tier holds, so that its blocks do not evict
// each other.
std::size_t MaxPrefetched(const BlockStore& upper) {
  const BlockLayout& layout = upper.layout();
  const std::uint64_t block =
      layout.num_slices * (layout.slice_bytes + layout.representation_bytes);
  const std::uint64_t capacity = upper.Stats().capacity_bytes;
  if (capacity == 0) return BlockMover::kMaxQueuedUp;
  return static_cast<std::size_t>(
      std::clamp<std::uint64_t>(capacity / block / 2, 1, BlockMover::kMaxQueuedUp));
}

class StackedStore final : public BlockStore {
 public:
  StackedStore(std::unique_ptr<BlockStore> upper, std::unique_ptr<BlockStore> lower,
               const StackOptions& options)
      : layout_(upper->layout()),
        timeout_(options.timeout),
        max_prefetched_(MaxPrefetched(*upper)),
        tiers_(std::make_unique<Tiers>(std::move(upper), std::move(lower),
                                       options.write_through ? 0 : options.queue_bytes)),
        tasks_(tiers_->mover()) {}
  ~StackedStore() override;

  const BlockLayout& layout() const override { return layout_; }
  std::vector<bool> Lookup(std::span<const BlockKey> keys) override;
  std::size_t LookupPrefix(std::span<const BlockKey> keys) override;
  Result<TaskId> Prefetch(std::span<const BlockId> ids) override {
    return tasks_.Start(std::make_shared<PrefetchTask>(*tiers_, ids, max_prefetched_));
  }
  Result<bool> Begin(const BlockKey& key, const BlockId& parent, Admission admission) override;
  Result<TaskId> Dump(std::vector<SliceWrite> writes) override {
    return tasks_.Start(std::make_shared<DumpTask>(*tiers_, std::move(writes)));
  }
  void Abandon(const BlockId& id) override;
  Result<TaskId> Load(std::vector<SliceRead> reads) override {
    return tasks_.Start(std::make_shared<LoadTask>(*tiers_, std::move(reads)));
  }
  bool Poll(TaskId task) override { return tasks_.Poll(task); }
  Result<TaskResult> Wait(TaskId task, Deadline deadline) override {
    return tasks_.Wait(task, deadline);
  }
  void Cancel(TaskId task) override { tasks_.Cancel(task); }
  Status Flush(Deadline deadline) override;
  void RegisterMemory(std::span<std::byte> memory) override;
  void Pin(std::span<const BlockId> ids) override;
  void Unpin(std::span<const BlockId> ids) override;
  Status Remove(const BlockId& id) override;
  StoreStats Stats() const override;

 private:
  Deadline InTime() const { return std::chrono::steady_clock::now() + timeout_; }
  void CountLookups(std::uint64_t hits, std::uint64_t misses);
  Status WaitUntilWritten(Deadline deadline);

  const BlockLayout layout_;
  const std::chrono::milliseconds timeout_;
  const std::size_t max_prefetched_;
  std::unique_ptr<Tiers> tiers_;
  CompositeTasks tasks_;
};

StackedStore::~StackedStore() {
  const Deadline deadline = InTime();
  (void)WaitUntilWritten(deadline);  // its error has nobody left to go to
  tasks_.CancelAll();
  const Deadline last = std::chrono::steady_clock::now() + std::min(kLetGo, timeout_);
  const bool stopped = tiers_->mover().Stop(last);
  if (tasks_.Settle(last) && stopped) return;
  // A tier hangs, and may use its buffers as long as it does: they live on with it. The thread ends
  // when the tier lets go, or with the process.
  std::thread([tiers = std::move(tiers_)]() mutable { tiers.reset(); }).detach();
}

void StackedStore::CountLookups(std::uint64_t hits, std::uint64_t misses) {
  tiers_->Count([&](StoreStats& stats) {
    stats.lookup_hits += hits;
    stats.lookup_misses += misses;
  });
}

std::vector<bool> StackedStore::Lookup(std::span<const BlockKey> keys) {
  std::vector<bool> hits = tiers_->upper().Lookup(keys);
  std::vector<BlockKey> rest;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!hits[i]) rest.push_back(keys[i]);
  }
  const bool upper_hit = rest.size() < keys.size();
  const std::vector<bool> below = rest.empty() ? std::vector<bool>{} : tiers_->lower().Lookup(rest);
  std::vector<BlockKey> used;
  for (std::size_t i = 0, missed = 0; i < keys.size(); ++i) {
    if (!hits[i]) hits[i] = below[missed++];
    if (hits[i]) used.push_back(keys[i]);
  }
  if (upper_hit) tiers_->mover().Use(used);
  CountLookups(used.size(), keys.size() - used.size());
  return hits;
}

// One call each, so that the stamps of either tier fall in the order of the chain.
std::size_t StackedStore::LookupPrefix(std::span<const BlockKey> keys) {
  const std::vector<bool> above = tiers_->upper().Lookup(keys);
  std::vector<BlockKey> rest;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!above[i]) rest.push_back(keys[i]);
  }
  std::size_t below = rest.empty() ? 0 : tiers_->lower().LookupPrefix(rest);
  std::size_t hits = 0;
  bool upper_hit = false;
  for (; hits < keys.size() && (above[hits] || below > 0); ++hits) {
    upper_hit |= above[hits];
    if (!above[hits]) --below;
  }
  if (upper_hit) tiers_->mover().Use(keys.first(hits));
  CountLookups(hits, hits < keys.size() ? 1 : 0);
  return hits;
}

Result<bool> StackedStore::Begin(const BlockKey& key, const BlockId& parent, Admission admission) {
  // The upper tier is asked first: what it has needs no look at a slow disk. It keeps whatever the
  // lower one admits.
  const Result<bool> above = tiers_->upper().Begin(key, parent, Admission::kRequired);
  if (!above || !*above) return above;
  const Result<bool> below = tiers_->lower().Begin(key, parent, admission);
  if (!below || !*below) {
    tiers_->upper().Abandon(key.id);
    return below;
  }
  // Before it is committed, so that it is not evicted before it is written below.
  tiers_->upper().Pin({&key.id, 1});
  tiers_->ledger().Open(key.id);
  return true;
}

void StackedStore::Abandon(const BlockId& id) {
  if (!tiers_->ledger().Abandon(id)) return;
  tiers_->upper().Abandon(id);
  tiers_->lower().Abandon(id);
  tiers_->Release(id);
}

Status StackedStore::WaitUntilWritten(Deadline deadline) {
  if (tasks_.Settle(deadline) && tiers_->mover().WaitDown(deadline)) {
    return tiers_->lower().Flush(deadline);
  }
  const DumpLedger::Unwritten unwritten = tiers_->ledger().Sum();
  return DeadlineExceeded("flush: " + std::to_string(unwritten.bytes) + " bytes of " +
                          std::to_string(unwritten.blocks) + " blocks are still to be written");
}

Status StackedStore::Flush(Deadline deadline) {
  if (Status written = WaitUntilWritten(deadline); !written) return written;
  return tiers_->TakeError();
}

void StackedStore::RegisterMemory(std::span<std::byte> memory) {
  tiers_->upper().RegisterMemory(memory);
  tiers_->lower().RegisterMemory(memory);
}

void StackedStore::Pin(std::span<const BlockId> ids) {
  tiers_->upper().Pin(ids);
  tiers_->lower().Pin(ids);
}

void StackedStore::Unpin(std::span<const BlockId> ids) {
  tiers_->upper().Unpin(ids);
  tiers_->lower().Unpin(ids);
}

Status StackedStore::Remove(const BlockId& id) {
  if (Status dropped = tiers_->mover().Drop(id, InTime()); !dropped) return dropped;
  const Status above = tiers_->upper().Remove(id);
  const Status below = tiers_->lower().Remove(id);
  if (!below && below.error().code == ErrorCode::kNotFound) return above;
  return below;
}

StoreStats StackedStore::Stats() const {
  std::uint64_t upper_misses = 0;
  const DumpLedger::Unwritten unwritten = tiers_->ledger().Sum();
  StoreStats stats = tiers_->counters(&upper_misses);
  StoreStats above = tiers_->upper().Stats();
  StoreStats below = tiers_->lower().Stats();
  above.load_failures -= std::min(above.load_failures, upper_misses);
  below.lookup_hits -= std::min(below.lookup_hits, tiers_->mover().used_hits());
  below.lookup_misses -= std::min(below.lookup_misses, tiers_->mover().used_misses());
  const std::uint64_t block =
      layout_.num_slices * (layout_.slice_bytes + layout_.representation_bytes);
  stats.backend = above.backend + "|" + below.backend;
  stats.blocks = below.blocks + unwritten.blocks;
  stats.bytes = below.bytes + unwritten.blocks * block;
  stats.capacity_bytes = below.capacity_bytes;
  stats.evicted_blocks = below.evicted_blocks;
  stats.quarantined_blocks = above.quarantined_blocks + below.quarantined_blocks;
  stats.refused_blocks = below.refused_blocks;
  stats.foreign_blocks = above.foreign_blocks + below.foreign_blocks;
  stats.promoted_blocks += below.promoted_blocks;
  stats.removed_leftovers = above.removed_leftovers + below.removed_leftovers;
  stats.pending_tasks = tasks_.Pending();
  stats.unwritten_bytes = unwritten.bytes + below.unwritten_bytes;
  std::vector<StoreStats> lower_tiers = std::exchange(below.tiers, {});
  if (lower_tiers.empty()) lower_tiers.push_back(std::move(below));
  stats.tiers.push_back(std::move(above));
  std::ranges::move(lower_tiers, std::back_inserter(stats.tiers));
  return stats;
}

}  // namespace

std::unique_ptr<BlockStore> MakeStackedStore(std::unique_ptr<BlockStore> upper,
                                             std::unique_ptr<BlockStore> lower,
                                             const StackOptions& options) {
  ESA_CHECK(upper->layout() == lower->layout());
  return std::make_unique<StackedStore>(std::move(upper), std::move(lower), options);
}

}  // namespace esa
