#include "engine/working_set.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/stopwatch.h"

namespace esa {
namespace {

using State = SliceEntry::State;

constexpr std::chrono::milliseconds kHungPatience{50};
constexpr std::int64_t kVisitedAtOnce = 16;

// Of working sets that are gone.
std::vector<std::shared_ptr<void>>& HungBuffers() {
  static auto* const buffers = new std::vector<std::shared_ptr<void>>;
  return *buffers;
}

void SortUnique(std::vector<BlockIndex>* blocks) {
  std::sort(blocks->begin(), blocks->end());
  blocks->erase(std::unique(blocks->begin(), blocks->end()), blocks->end());
}

}  // namespace

WorkingSet::~WorkingSet() {
  DrainDumps();
  if (!parked_.empty()) LeakParked();
}

void WorkingSet::Enlist(SliceEntry& entry) {
  Order& order = OrderOf(entry);
  entry.previous = order.last;
  entry.next = nullptr;
  (order.last != nullptr ? order.last->next : order.first) = &entry;
  order.last = &entry;
}

void WorkingSet::Unlist(SliceEntry& entry) {
  Order& order = OrderOf(entry);
  (entry.previous != nullptr ? entry.previous->next : order.first) = entry.next;
  (entry.next != nullptr ? entry.next->previous : order.last) = entry.previous;
  entry.previous = entry.next = nullptr;
}

void WorkingSet::Pin(SliceEntry& entry) {
  if (Evictable(entry)) Unlist(entry);
  ++entry.pins;
}

void WorkingSet::Unpin(SliceEntry& entry) {
  ESA_CHECK(entry.pins > 0);
  --entry.pins;
  if (Evictable(entry)) Enlist(entry);
}

void WorkingSet::SetKept(SliceEntry& entry, bool kept) {
  if (entry.kept == kept) return;
  const bool listed = Evictable(entry);
  if (listed) Unlist(entry);
  entry.kept = kept;
  if (listed) Enlist(entry);
}

void WorkingSet::Forget(SliceEntry& entry) {
  if (Evictable(entry)) Unlist(entry);
  entry.slot.Reset();
  entry.state = State::kAbsent;
}

bool WorkingSet::Evict(bool kept_too) {
  SliceEntry* victim = loose_.first;
  if (victim == nullptr && kept_too) victim = kept_.first;
  if (victim == nullptr) return false;
  Forget(*victim);
  return true;
}

SliceSlot WorkingSet::Allocate(bool kept_too) {
  ReapDumps();
  if (!parked_.empty()) ReapParked();
  while (true) {
    if (SliceSlot slot = pool_->Allocate()) return slot;
    if (Evict(false) || (kept_too && dumps_.empty() && Evict(true))) continue;
    if (!kept_too || !(WaitOldestDump() || WaitOldestLoad())) return {};
  }
}

Status WorkingSet::Create(SequenceCache& cache, int layer, int kv_head, std::int64_t block) {
  SliceEntry& entry = cache.At(layer, kv_head, block);
  ESA_CHECK(entry.state == State::kAbsent);
  entry.slot = Allocate(true);
  if (!entry.slot) return Full();
  entry.state = State::kResident;
  entry.durable = false;
  entry.pins = 1;
  return {};
}

// A store that hung just now gets little time until something ends again.
Result<TaskResult> WorkingSet::Await(TaskId task, bool* hangs) {
  *hangs = false;
  const auto now = std::chrono::steady_clock::now();
  Result<TaskResult> result = store_->Wait(task, now + (store_hangs_ ? kHungPatience : timeout_));
  store_hangs_ = !result && result.error().code == ErrorCode::kDeadlineExceeded;
  if (!store_hangs_) return result;
  store_->Cancel(task);
  // Parts that nothing worked on have failed by now; the rest is in the hands of the disk.
  Result<TaskResult> ended = store_->Wait(task, std::chrono::steady_clock::now() + kHungPatience);
  if (ended) return ended;
  *hangs = ended.error().code == ErrorCode::kDeadlineExceeded;
  return result;
}

Result<TaskResult> WorkingSet::WaitTask(TaskId task, std::shared_ptr<void> buffer) {
  bool hangs = false;
  Result<TaskResult> result = Await(task, &hangs);
  if (hangs) parked_.push_back({.task = task, .buffer = std::move(buffer)});
  return result;
}

void WorkingSet::ReapParked() {
  std::erase_if(parked_, [&](Parked& parked) {
    if (!store_->Poll(parked.task)) return false;
    (void)store_->Wait(parked.task, {});
    for (SliceEntry* entry : parked.dumped) Unpin(*entry);
    return true;
  });
}

void WorkingSet::LeakParked() {
  const auto deadline = std::chrono::steady_clock::now() + timeout_;
  for (Parked& parked : parked_) (void)store_->Wait(parked.task, deadline);
  ReapParked();
  for (Parked& parked : parked_) {
    pool_->KeepMapped();
    for (SliceSlot& slot : parked.slots) slot.Leak();
    HungBuffers().push_back(std::move(parked.buffer));
  }
}

void WorkingSet::Dump(SequenceCache& cache, int layer, std::int64_t block, const float* means) {
  const KvGeometry& geometry = cache.geometry();
  PendingDump dump;
  std::vector<SliceWrite> writes;
  for (int head = 0; head < geometry.num_kv_heads; ++head) {
    SliceEntry& entry = cache.At(layer, head, block);
    Pin(entry);
    dump.entries.push_back(&entry);
    const float* mean = means + static_cast<std::int64_t>(head) * geometry.slice.head_dim;
    writes.push_back({.id = cache.id(block),
                      .slice = static_cast<std::uint32_t>(geometry.slice_index(layer, head)),
                      .data = entry.slot.data(),
                      .representation = reinterpret_cast<const std::byte*>(mean)});
  }
  Result<TaskId> task = store_->Dump(std::move(writes));
  if (task) {
    dump.task = *task;
    dumps_.push_back(std::move(dump));
    return;
  }
  CountFailedDump(task.error());
  for (SliceEntry* entry : dump.entries) Unpin(*entry);
}

void WorkingSet::CountFailedDump(const Error& error) {
  ++counters_.failed_dumps;
  if (counters_.first_dump_error.empty()) counters_.first_dump_error = error.message;
}

void WorkingSet::FinishDump(const PendingDump& dump) {
  bool hangs = false;
  Result<TaskResult> result = Await(dump.task, &hangs);
  std::vector<bool> failed(dump.entries.size(), !result.ok());
  std::string error = result ? "" : result.error().message;
  if (result) {
    counters_.dumped_bytes += result->bytes;
    for (const PartFailure& failure : result->failures) {
      failed[failure.index] = true;
      error = failure.error.message;
    }
  }
  for (std::size_t i = 0; i < dump.entries.size(); ++i) {
    dump.entries[i]->durable = !failed[i];
    counters_.failed_dumps += failed[i] ? 1 : 0;
    if (!hangs) Unpin(*dump.entries[i]);
  }
  if (hangs) parked_.push_back({.task = dump.task, .dumped = dump.entries});
  if (counters_.first_dump_error.empty()) counters_.first_dump_error = error;
}

bool WorkingSet::WaitOldestDump() {
  if (dumps_.empty()) return false;
  const PendingDump dump = std::move(dumps_.front());
  dumps_.pop_front();
  FinishDump(dump);
  return true;
}

// Of whatever layer: what it brought may be evicted then. FinishLoads still finds what failed.
bool WorkingSet::WaitOldestLoad() {
  if (loads_.empty()) return false;
  const auto [cache, layer] = loads_.front();
  std::vector<BlockIndex> ignored;
  EndLoads(*cache, layer, &ignored);
  return true;
}

void WorkingSet::ReapDumps() {
  while (!dumps_.empty() && store_->Poll(dumps_.front().task)) WaitOldestDump();
}

void WorkingSet::DrainDumps() {
  while (WaitOldestDump()) {
  }
}

void WorkingSet::AddToLoad(SequenceCache& cache, int layer, int kv_head,
                           std::span<const BlockIndex> blocks, bool kept_too, NewLoad* load) {
  for (BlockIndex block : blocks) {
    SliceEntry& entry = cache.At(layer, kv_head, block);
    if (entry.state != State::kAbsent || !entry.durable) continue;
    entry.slot = Allocate(kept_too);
    if (!entry.slot) break;
    entry.state = State::kLoading;
    load->slices.entries.push_back(&entry);
    load->slices.blocks.push_back(block);
    const int slice = cache.geometry().slice_index(layer, kv_head);
    load->reads.push_back({.id = cache.id(block),
                           .part = static_cast<std::uint32_t>(slice),
                           .destination = entry.slot.data()});
  }
}

void WorkingSet::StartLoad(SequenceCache& cache, int layer, NewLoad load) {
  if (load.reads.empty()) return;
  Result<TaskId> task = Submit(std::move(load.reads));
  if (!task) {
    for (SliceEntry* entry : load.slices.entries) FailLoad(*entry);
    return;
  }
  load.slices.task = *task;
  loads_.emplace_back(&cache, layer);
  cache.loads_[static_cast<std::size_t>(layer)].push_back(std::move(load.slices));
}

Result<TaskId> WorkingSet::Submit(std::vector<SliceRead> reads) {
  if (!crew_) return store_->Load(std::move(reads));
  const Stopwatch watch;
  Result<TaskId> task = store_->LoadWith(crew_, std::move(reads));
  counters_.crew_seconds += watch.Seconds();
  return task;
}

void WorkingSet::LoadKept(SequenceCache& cache, int layer, bool kept_too) {
  NewLoad load;
  for (int head = 0; head < cache.geometry().num_kv_heads; ++head) {
    const int slice = cache.geometry().slice_index(layer, head);
    AddToLoad(cache, layer, head, cache.kept_[static_cast<std::size_t>(slice)], kept_too, &load);
  }
  StartLoad(cache, layer, std::move(load));
}

// The store will not have it the next time either; nothing may wait for it again.
void WorkingSet::FailLoad(SliceEntry& entry) {
  ++counters_.failed_loads;
  entry.durable = false;
  Forget(entry);
}

void WorkingSet::EndLoads(SequenceCache& cache, int layer, std::vector<BlockIndex>* failed) {
  std::erase(loads_, std::pair(&cache, layer));
  for (SequenceCache::Load& load : cache.loads_[static_cast<std::size_t>(layer)]) {
    Parked parked{.task = load.task};
    bool hangs = false;
    Result<TaskResult> result = Await(load.task, &hangs);
    std::vector<bool> bad(load.entries.size(), !result.ok());
    if (result) {
      counters_.loaded_bytes += result->bytes;
      for (const PartFailure& failure : result->failures) bad[failure.index] = true;
    }
    for (std::size_t i = 0; i < load.entries.size(); ++i) {
      SliceEntry& entry = *load.entries[i];
      if (bad[i]) {
        if (hangs) parked.slots.push_back(std::move(entry.slot));
        FailLoad(entry);
        failed->push_back(load.blocks[i]);
        continue;
      }
      entry.state = State::kResident;
      if (Evictable(entry)) Enlist(entry);
    }
    if (hangs) parked_.push_back(std::move(parked));
  }
  cache.loads_[static_cast<std::size_t>(layer)].clear();
}

WorkingSet::Kept WorkingSet::Keep(SequenceCache& cache, int layer, int kv_head,
                                  std::span<const BlockIndex> blocks, std::int64_t sealed_blocks) {
  const int first = kv_head == kAllHeads ? 0 : kv_head;
  const int last = kv_head == kAllHeads ? cache.geometry().num_kv_heads : kv_head + 1;
  Kept result;
  for (int head = first; head < last; ++head) {
    const auto slice = static_cast<std::size_t>(cache.geometry().slice_index(layer, head));
    auto& kept = cache.kept_[slice];
    const std::int64_t sealed_before = std::exchange(cache.sealed_[slice], sealed_blocks);
    for (BlockIndex block : blocks) {
      const bool sealed_since = block >= sealed_before;
      result.fetched += !sealed_since && !std::ranges::binary_search(kept, block) ? 1 : 0;
    }
    for (BlockIndex block : kept) SetKept(cache.At(layer, head, block), false);
    kept.assign(blocks.begin(), blocks.end());
    for (BlockIndex block : kept) {
      SliceEntry& entry = cache.At(layer, head, block);
      SetKept(entry, true);
      result.resident += entry.state != State::kAbsent ? 1 : 0;
    }
  }
  // Of all heads in one task: slices of a block that follow each other are one request.
  NewLoad load;
  for (int head = first; head < last; ++head) AddToLoad(cache, layer, head, blocks, false, &load);
  StartLoad(cache, layer, std::move(load));
  return result;
}

void WorkingSet::RestoreKept(SequenceCache& cache) {
  for (int layer = 0; layer < cache.geometry().num_layers; ++layer) LoadKept(cache, layer, false);
}

std::vector<BlockIndex> WorkingSet::FinishLoads(SequenceCache& cache, int layer) {
  std::vector<BlockIndex> failed;
  EndLoads(cache, layer, &failed);
  LoadKept(cache, layer, true);
  EndLoads(cache, layer, &failed);
  for (int head = 0; head < cache.geometry().num_kv_heads; ++head) {
    const int slice = cache.geometry().slice_index(layer, head);
    for (BlockIndex block : cache.kept_[static_cast<std::size_t>(slice)]) {
      const SliceEntry& entry = cache.At(layer, head, block);
      if (entry.state == State::kAbsent && !entry.durable) failed.push_back(block);
    }
  }
  SortUnique(&failed);
  return failed;
}

Result<std::vector<BlockIndex>> WorkingSet::PinResident(SequenceCache& cache, int layer,
                                                        int kv_head,
                                                        std::span<const BlockIndex> blocks) {
  std::vector<BlockIndex> failed;
  std::vector<BlockIndex> absent;
  bool loading = false;
  for (BlockIndex block : blocks) {
    SliceEntry& entry = cache.At(layer, kv_head, block);
    Pin(entry);
    loading |= entry.state == State::kLoading;
    if (entry.state == State::kAbsent) absent.push_back(block);
  }
  if (loading) EndLoads(cache, layer, &failed);
  if (!absent.empty()) {
    NewLoad load;
    AddToLoad(cache, layer, kv_head, absent, true, &load);
    StartLoad(cache, layer, std::move(load));
    EndLoads(cache, layer, &failed);
  }
  failed.clear();
  bool no_room = false;
  for (BlockIndex block : blocks) {
    SliceEntry& entry = cache.At(layer, kv_head, block);
    if (entry.state == State::kResident) continue;
    no_room |= entry.durable;  // the store has it, but no slot was free
    Unpin(entry);
    failed.push_back(block);
  }
  if (!no_room) return failed;
  for (BlockIndex block : blocks) {
    if (std::ranges::find(failed, block) == failed.end()) Unpin(cache.At(layer, kv_head, block));
  }
  return Full();
}

Status WorkingSet::Visit(SequenceCache& cache, int layer, int kv_head, BlockRange blocks,
                         const std::function<void(BlockIndex, const std::byte*)>& visit) {
  std::vector<BlockIndex> stored;
  for (BlockIndex block = blocks.begin; block < blocks.end; ++block) {
    const SliceEntry& entry = cache.At(layer, kv_head, block);
    if (entry.state == State::kResident) {
      visit(block, entry.slot.data());
      continue;
    }
    if (!entry.durable) return IoError("a KV block that is to be looked at was lost");
    stored.push_back(block);
    if (std::ssize(stored) < kVisitedAtOnce) continue;
    ESA_RETURN_IF_ERROR(VisitStored(cache, layer, kv_head, stored, visit));
    stored.clear();
  }
  return VisitStored(cache, layer, kv_head, stored, visit);
}

Status WorkingSet::VisitStored(SequenceCache& cache, int layer, int kv_head,
                               std::span<const BlockIndex> blocks,
                               const std::function<void(BlockIndex, const std::byte*)>& visit) {
  if (blocks.empty()) return {};
  const auto slot_bytes = static_cast<std::size_t>(pool_->slot_bytes());
  const std::shared_ptr<void> buffer(
      std::aligned_alloc(kSliceAlignment, blocks.size() * slot_bytes), std::free);
  auto* const bytes = static_cast<std::byte*>(buffer.get());
  std::vector<SliceRead> reads;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    reads.push_back(
        {.id = cache.id(blocks[i]),
         .part = static_cast<std::uint32_t>(cache.geometry().slice_index(layer, kv_head)),
         .destination = bytes + i * slot_bytes});
  }
  ESA_ASSIGN_OR_RETURN(const TaskId task, store_->Load(std::move(reads)));
  ESA_ASSIGN_OR_RETURN(const TaskResult result, WaitTask(task, buffer));
  if (!result.failures.empty()) return result.failures.front().error;
  counters_.visited_bytes += result.bytes;
  for (std::size_t i = 0; i < blocks.size(); ++i) visit(blocks[i], bytes + i * slot_bytes);
  return {};
}

Error WorkingSet::Full() const {
  const std::string reason =
      counters_.first_dump_error.empty() ? "" : "; the store failed: " + counters_.first_dump_error;
  return ResourceExhausted("KV memory of " +
                           std::to_string(pool_->num_slots() * pool_->slot_bytes()) +
                           " bytes is full of slices that are needed at the same time" + reason);
}

// The table of these slices goes; what a task that hangs reads of them must stay.
void WorkingSet::ParkDumped(SequenceCache& cache, int layer) {
  for (Parked& parked : parked_) {
    std::erase_if(parked.dumped, [&](SliceEntry* entry) {
      if (!cache.Holds(layer, *entry)) return false;
      parked.slots.push_back(std::move(entry->slot));
      return true;
    });
  }
}

void WorkingSet::DropLayer(SequenceCache& cache, int layer) {
  DrainDumps();
  std::vector<BlockIndex> ignored;
  EndLoads(cache, layer, &ignored);
  ReapParked();
  ParkDumped(cache, layer);
  for (int head = 0; head < cache.geometry().num_kv_heads; ++head) {
    for (std::int64_t block = 0; block < cache.max_blocks(); ++block) {
      SliceEntry& entry = cache.At(layer, head, block);
      if (entry.state == State::kAbsent) continue;
      if (Evictable(entry)) Unlist(entry);
      entry.pins = 0;
      entry.slot.Reset();
      entry.state = State::kAbsent;
    }
  }
}

void WorkingSet::Finish(SequenceCache& cache) {
  for (int layer = 0; layer < cache.geometry().num_layers; ++layer) DropLayer(cache, layer);
}

}  // namespace esa
