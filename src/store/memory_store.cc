// The `memory` backend: blocks in RAM, least recently used out first, gone with the process.
//
// Every call does its work before it returns; its task has ended by then. The mutex is held to find
// and to claim, never to copy or to checksum: callers move bytes side by side.
//
// As a tier above others a load counts as a use, so that it keeps what is read. Alone it does not:
// a chain must go from its end, and loads of single blocks say nothing about the chain.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "esa/block_store.h"
#include "store/block_id_hash.h"
#include "store/block_index.h"
#include "store/checksum.h"
#include "store/memory/block_memory.h"
#include "store/recency.h"
#include "store/task_table.h"

namespace esa {
namespace {

struct Block {
  std::vector<std::int32_t> tokens;
  std::uint64_t tokens_checksum = 0;
  SliceSlot memory;  // [num_slices, slice_bytes], [num_slices, representation_bytes]; or empty
  std::vector<std::uint64_t> checksums;  // [num_slices]
  std::uint64_t representations_checksum = 0;
  std::vector<bool> taken;  // [num_slices]; of which a write was accepted
  std::uint32_t num_written = 0;
  std::int64_t stamp_us = 0;
  std::optional<Error> failure;  // of an open block: nothing more is written to it
};

class MemoryStore final : public BlockStore {
 public:
  MemoryStore(const StoreConfig& config, const BlockLayout& layout)
      : layout_(layout),
        block_bytes_(BlockBytes(layout)),
        verify_(config.verify_checksums),
        above_others_(IsAboveOthers(config)),
        memory_(block_bytes_, Capacity(config)) {
    stats_.capacity_bytes = Capacity(config);
  }

  const BlockLayout& layout() const override { return layout_; }
  std::vector<bool> Lookup(std::span<const BlockKey> keys) override;
  std::size_t LookupPrefix(std::span<const BlockKey> keys) override;
  Result<TaskId> Prefetch(std::span<const BlockId>) override { return tasks_.Add(0).id; }
  Result<bool> Begin(const BlockKey& key, const BlockId& parent, Admission) override;
  Result<TaskId> Dump(std::vector<SliceWrite> writes) override;
  void Abandon(const BlockId& id) override;
  Result<TaskId> Load(std::vector<SliceRead> reads) override;
  bool Poll(TaskId task) override { return tasks_.Poll(task); }
  Result<TaskResult> Wait(TaskId task, Deadline deadline) override {
    return tasks_.Wait(task, deadline);
  }
  void Cancel(TaskId) override {}  // a task has ended before its id is known
  void Pin(std::span<const BlockId> ids) override;
  void Unpin(std::span<const BlockId> ids) override;
  Status Remove(const BlockId& id) override;
  StoreStats Stats() const override;

 private:
  using Blocks = std::unordered_map<BlockId, std::shared_ptr<Block>, BlockIdHash>;

  static bool IsAboveOthers(const StoreConfig& config) {
    return config.backend.find('|') != std::string::npos;
  }
  static std::uint64_t Capacity(const StoreConfig& config) {
    return IsAboveOthers(config) ? config.memory_bytes : config.capacity_bytes;
  }
  static std::uint64_t BlockBytes(const BlockLayout& layout) {
    return layout.num_slices * (layout.slice_bytes + layout.representation_bytes);
  }
  std::byte* SliceOf(const Block& block, std::uint32_t slice) const {
    return block.memory.data() + slice * layout_.slice_bytes;
  }
  std::byte* RepresentationOf(const Block& block, std::uint32_t slice) const {
    return SliceOf(block, layout_.num_slices) + std::uint64_t{slice} * layout_.representation_bytes;
  }

  // These hold mutex_.
  bool Holds(const BlockKey& key) const;
  void Use(const BlockId& id, std::int64_t stamp_us);
  std::int64_t StampBelowParent(const BlockId& parent);
  bool IsOpen(const BlockId& id, const std::shared_ptr<Block>& block) const;
  Status Allocate(Block& block);
  Status Claim(const SliceWrite& write, Block& block);
  std::vector<std::shared_ptr<const Block>> FindAll(std::span<const SliceRead> reads);

  // These take it. A write is claimed, copied and ended; Write is all three.
  Result<std::shared_ptr<Block>> Claim(const SliceWrite& write);
  void Copy(const SliceWrite& write, Block& block) const;
  Status End(const SliceWrite& write, const std::shared_ptr<Block>& block);
  Status Write(const SliceWrite& write);

  struct Part {
    std::span<const std::byte> bytes;
    std::uint64_t checksum = 0;
  };
  std::optional<Part> PartOf(const Block& block, std::uint32_t part) const;  // nullopt: none such
  Result<std::uint64_t> Read(const Block* block, const SliceRead& read) const;

  const BlockLayout layout_;
  const std::uint64_t block_bytes_;
  const bool verify_;
  const bool above_others_;
  BlockMemory memory_;  // before the blocks, which lie in it
  RecencyClock clock_;
  TaskTable tasks_;
  mutable std::mutex mutex_;
  Blocks open_;                   // guarded by mutex_; shared with writes under way
  Blocks committed_;              // guarded by mutex_; shared with loads under way
  BlockIndex index_;              // guarded by mutex_; of committed_, and all pins
  std::uint64_t open_bytes_ = 0;  // guarded by mutex_
  StoreStats stats_;              // guarded by mutex_; the counters only
};

bool MemoryStore::Holds(const BlockKey& key) const {
  const auto found = committed_.find(key.id);
  return found != committed_.end() && std::ranges::equal(found->second->tokens, key.tokens);
}

void MemoryStore::Use(const BlockId& id, std::int64_t stamp_us) {
  committed_.at(id)->stamp_us = stamp_us;
  index_.Put(id, {block_bytes_, stamp_us});
}

std::vector<bool> MemoryStore::Lookup(std::span<const BlockKey> keys) {
  std::int64_t stamp_us = clock_.Take(static_cast<std::int64_t>(keys.size()));
  std::vector<bool> hits(keys.size());
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    hits[i] = Holds(keys[i]);
    ++(hits[i] ? stats_.lookup_hits : stats_.lookup_misses);
    if (hits[i]) Use(keys[i].id, stamp_us--);
  }
  return hits;
}

std::size_t MemoryStore::LookupPrefix(std::span<const BlockKey> keys) {
  std::int64_t stamp_us = clock_.Take(static_cast<std::int64_t>(keys.size()));
  std::lock_guard lock(mutex_);
  std::size_t hits = 0;
  while (hits < keys.size() && Holds(keys[hits])) Use(keys[hits++].id, stamp_us--);
  stats_.lookup_hits += hits;
  if (hits < keys.size()) ++stats_.lookup_misses;
  return hits;
}

std::int64_t MemoryStore::StampBelowParent(const BlockId& parent) {
  if (const auto open = open_.find(parent); open != open_.end()) {
    return StampBelow(open->second->stamp_us);
  }
  if (const auto stored = committed_.find(parent); stored != committed_.end()) {
    return StampBelow(stored->second->stamp_us);
  }
  return clock_.Take(1);
}

Result<bool> MemoryStore::Begin(const BlockKey& key, const BlockId& parent, Admission) {
  if (key.tokens.size() != layout_.block_tokens) {
    return InvalidArgument("block " + key.id.Hex() + ": " + std::to_string(key.tokens.size()) +
                           " tokens, expected " + std::to_string(layout_.block_tokens));
  }
  std::lock_guard lock(mutex_);
  if (const auto found = committed_.find(key.id); found != committed_.end()) {
    if (Holds(key)) return false;
    return InvalidArgument("block " + key.id.Hex() + ": stored with other tokens");
  }
  if (open_.contains(key.id)) return false;
  auto block = std::make_shared<Block>();
  block->tokens.assign(key.tokens.begin(), key.tokens.end());
  block->tokens_checksum = Checksum(std::as_bytes(std::span(block->tokens)));
  block->taken.resize(layout_.num_slices);
  block->checksums.resize(layout_.num_slices);
  block->stamp_us = StampBelowParent(parent);
  open_.emplace(key.id, std::move(block));
  return true;
}

Status MemoryStore::Allocate(Block& block) {
  const std::uint64_t capacity = stats_.capacity_bytes;
  while (capacity != 0 && index_.bytes() + open_bytes_ + block_bytes_ > capacity) {
    const std::optional<BlockId> victim = index_.Oldest();
    if (!victim || block_bytes_ > capacity) {
      return ResourceExhausted("memory store: no room for a block of " +
                               std::to_string(block_bytes_) + " bytes in " +
                               std::to_string(capacity) + ": all others are pinned or open");
    }
    index_.Erase(*victim);
    committed_.erase(*victim);
    ++stats_.evicted_blocks;
  }
  Result<SliceSlot> memory = memory_.Take();
  if (!memory) return memory.error();
  block.memory = *std::move(memory);
  open_bytes_ += block_bytes_;
  return {};
}

Status MemoryStore::Claim(const SliceWrite& write, Block& block) {
  if (block.failure) return *block.failure;
  if (write.slice >= layout_.num_slices || block.taken[write.slice] || write.data == nullptr ||
      (write.representation == nullptr && layout_.representation_bytes > 0)) {
    return InvalidArgument("block " + write.id.Hex() + ": slice " + std::to_string(write.slice) +
                           " is out of range, written already, or without data");
  }
  if (!block.memory) {
    if (Status room = Allocate(block); !room) return room;
  }
  block.taken[write.slice] = true;
  return {};
}

Result<std::shared_ptr<Block>> MemoryStore::Claim(const SliceWrite& write) {
  std::lock_guard lock(mutex_);
  const auto found = open_.find(write.id);
  if (found == open_.end()) return NotFound("block " + write.id.Hex() + " is not open");
  const std::shared_ptr<Block>& block = found->second;
  if (Status claimed = Claim(write, *block); !claimed) {
    if (!block->failure) block->failure = claimed.error();
    return claimed.error();
  }
  return block;
}

void MemoryStore::Copy(const SliceWrite& write, Block& block) const {
  std::byte* slice = SliceOf(block, write.slice);
  std::memcpy(slice, write.data, layout_.slice_bytes);
  block.checksums[write.slice] = Checksum({slice, layout_.slice_bytes});
  if (layout_.representation_bytes == 0) return;
  std::memcpy(RepresentationOf(block, write.slice), write.representation,
              layout_.representation_bytes);
}

bool MemoryStore::IsOpen(const BlockId& id, const std::shared_ptr<Block>& block) const {
  const auto found = open_.find(id);
  return found != open_.end() && found->second == block;
}

Status MemoryStore::End(const SliceWrite& write, const std::shared_ptr<Block>& block) {
  const Error abandoned = Cancelled("block " + write.id.Hex() + " was abandoned");
  {
    std::lock_guard lock(mutex_);
    if (!IsOpen(write.id, block)) return abandoned;
    if (block->failure) return *block->failure;
    if (++block->num_written < layout_.num_slices) return {};
  }
  // Nothing is left to be written: only this thread looks at the bytes.
  block->representations_checksum = Checksum(PartOf(*block, kRepresentations)->bytes);
  std::lock_guard lock(mutex_);
  if (!IsOpen(write.id, block)) return abandoned;
  if (block->failure) return *block->failure;
  open_bytes_ -= block_bytes_;
  index_.Put(write.id, {block_bytes_, block->stamp_us});
  committed_.insert(open_.extract(write.id));
  ++stats_.dumped_blocks;
  return {};
}

Status MemoryStore::Write(const SliceWrite& write) {
  const Result<std::shared_ptr<Block>> block = Claim(write);
  if (!block) return block.error();
  Copy(write, **block);
  return End(write, *block);
}

Result<TaskId> MemoryStore::Dump(std::vector<SliceWrite> writes) {
  const TaskTable::Entry entry = tasks_.Add(writes.size());
  std::uint64_t failures = 0;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    if (Status status = Write(writes[i]); !status) {
      ++failures;
      entry.task->Fail(i, status.error());
    } else {
      entry.task->Succeed(layout_.slice_bytes);
    }
  }
  std::lock_guard lock(mutex_);
  stats_.dump_failures += failures;
  stats_.dumped_bytes += (writes.size() - failures) * layout_.slice_bytes;
  return entry.id;
}

void MemoryStore::Abandon(const BlockId& id) {
  std::lock_guard lock(mutex_);
  const auto found = open_.find(id);
  if (found == open_.end()) return;
  if (found->second->memory) open_bytes_ -= block_bytes_;
  open_.erase(found);
}

std::optional<MemoryStore::Part> MemoryStore::PartOf(const Block& block, std::uint32_t part) const {
  if (part == kTokens) return Part{std::as_bytes(std::span(block.tokens)), block.tokens_checksum};
  if (part == kRepresentations) {
    const std::uint64_t bytes = std::uint64_t{layout_.num_slices} * layout_.representation_bytes;
    return Part{{RepresentationOf(block, 0), bytes}, block.representations_checksum};
  }
  if (part >= layout_.num_slices) return std::nullopt;
  return Part{{SliceOf(block, part), layout_.slice_bytes}, block.checksums[part]};
}

Result<std::uint64_t> MemoryStore::Read(const Block* block, const SliceRead& read) const {
  if (block == nullptr) return NotFound("block " + read.id.Hex() + " is not stored");
  const std::optional<Part> part = PartOf(*block, read.part);
  if (!part || read.destination == nullptr) {
    return InvalidArgument("block " + read.id.Hex() + ": part " + std::to_string(read.part) +
                           " is out of range, or without a destination");
  }
  std::memcpy(read.destination, part->bytes.data(), part->bytes.size());
  if (verify_ && Checksum({read.destination, part->bytes.size()}) != part->checksum) {
    return DataError("block " + read.id.Hex() + ": checksum of part " + std::to_string(read.part) +
                     " does not match");
  }
  return part->bytes.size();
}

std::vector<std::shared_ptr<const Block>> MemoryStore::FindAll(std::span<const SliceRead> reads) {
  std::vector<std::shared_ptr<const Block>> blocks(reads.size());
  std::int64_t stamp_us = above_others_ ? clock_.Take(static_cast<std::int64_t>(reads.size())) : 0;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    if (i > 0 && reads[i].id == reads[i - 1].id) {
      blocks[i] = blocks[i - 1];
      continue;
    }
    const auto found = committed_.find(reads[i].id);
    if (found == committed_.end()) continue;
    blocks[i] = found->second;
    if (above_others_) Use(reads[i].id, stamp_us--);
  }
  return blocks;
}

Result<TaskId> MemoryStore::Load(std::vector<SliceRead> reads) {
  const TaskTable::Entry entry = tasks_.Add(reads.size());
  std::vector<std::shared_ptr<const Block>> blocks;
  {
    std::lock_guard lock(mutex_);
    blocks = FindAll(reads);
  }
  StoreStats moved;
  std::vector<std::size_t> corrupt;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const Result<std::uint64_t> bytes = Read(blocks[i].get(), reads[i]);
    if (!bytes) {
      ++moved.load_failures;
      if (bytes.error().code == ErrorCode::kDataError) corrupt.push_back(i);
      entry.task->Fail(i, bytes.error());
      continue;
    }
    if (reads[i].part < layout_.num_slices) ++moved.loaded_slices;
    moved.loaded_bytes += *bytes;
    entry.task->Succeed(*bytes);
  }
  std::lock_guard lock(mutex_);
  stats_.loaded_slices += moved.loaded_slices;
  stats_.loaded_bytes += moved.loaded_bytes;
  stats_.load_failures += moved.load_failures;
  for (const std::size_t i : corrupt) {
    const auto found = committed_.find(reads[i].id);
    if (found == committed_.end() || found->second != blocks[i]) continue;
    index_.Erase(reads[i].id);
    committed_.erase(found);
    ++stats_.quarantined_blocks;
  }
  return entry.id;
}

void MemoryStore::Pin(std::span<const BlockId> ids) {
  std::lock_guard lock(mutex_);
  for (const BlockId& id : ids) index_.Pin(id);
}

void MemoryStore::Unpin(std::span<const BlockId> ids) {
  std::lock_guard lock(mutex_);
  for (const BlockId& id : ids) index_.Unpin(id);
}

Status MemoryStore::Remove(const BlockId& id) {
  std::lock_guard lock(mutex_);
  if (committed_.erase(id) == 0) return NotFound("block " + id.Hex() + " is not stored");
  index_.Erase(id);
  return {};
}

StoreStats MemoryStore::Stats() const {
  const std::uint64_t pending = tasks_.Pending();
  std::lock_guard lock(mutex_);
  StoreStats stats = stats_;
  stats.backend = "memory";
  stats.blocks = index_.blocks();
  stats.bytes = index_.bytes();
  stats.pending_tasks = pending;
  return stats;
}

}  // namespace

Result<std::unique_ptr<BlockStore>> CreateMemoryStore(const StoreConfig& config,
                                                      const BlockLayout& layout) {
  std::unique_ptr<BlockStore> store = std::make_unique<MemoryStore>(config, layout);
  return store;
}

}  // namespace esa
