// The `memory` backend: blocks in RAM, least recently used out first, gone with the process.
//
// Every call does its work before it returns; its task has ended by then. One mutex guards all
// but the copying of loads, which read blocks that no longer change.
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
#include "store/recency.h"
#include "store/task_table.h"

namespace esa {
namespace {

struct Block {
  std::vector<std::int32_t> tokens;
  std::uint64_t tokens_checksum = 0;
  std::vector<std::byte> slices;           // [num_slices, slice_bytes]; empty before the first
  std::vector<std::byte> representations;  // [num_slices, representation_bytes]
  std::vector<std::uint64_t> checksums;    // [num_slices]
  std::uint64_t representations_checksum = 0;
  std::vector<bool> written;  // [num_slices]
  std::uint32_t num_written = 0;
  std::int64_t stamp_us = 0;
  std::optional<Error> failure;  // of an open block: nothing more is written to it
};

class MemoryStore final : public BlockStore {
 public:
  MemoryStore(const StoreConfig& config, const BlockLayout& layout)
      : layout_(layout), block_bytes_(BlockBytes(layout)) {
    stats_.capacity_bytes = config.capacity_bytes;
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

  static std::uint64_t BlockBytes(const BlockLayout& layout) {
    return layout.num_slices * (layout.slice_bytes + layout.representation_bytes);
  }

  // These four hold mutex_.
  bool Holds(const BlockKey& key) const;
  void Use(const BlockId& id, std::int64_t stamp_us);
  Status Write(const SliceWrite& write);
  Status Allocate(Block& block);

  void Commit(const BlockId& id);  // holds mutex_

  struct Part {
    std::span<const std::byte> bytes;
    std::uint64_t checksum = 0;
  };
  std::optional<Part> PartOf(const Block& block, std::uint32_t part) const;  // nullopt: none such
  Result<std::uint64_t> Read(const SliceRead& read) const;

  const BlockLayout layout_;
  const std::uint64_t block_bytes_;
  RecencyClock clock_;
  TaskTable tasks_;
  mutable std::mutex mutex_;
  Blocks open_;                   // guarded by mutex_
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
  block->written.resize(layout_.num_slices);
  block->checksums.resize(layout_.num_slices);
  const auto opened = open_.find(parent);
  const auto stored = committed_.find(parent);
  if (opened != open_.end()) {
    block->stamp_us = StampBelow(opened->second->stamp_us);
  } else if (stored != committed_.end()) {
    block->stamp_us = StampBelow(stored->second->stamp_us);
  } else {
    block->stamp_us = clock_.Take(1);
  }
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
  block.slices.resize(layout_.num_slices * layout_.slice_bytes);
  block.representations.resize(std::uint64_t{layout_.num_slices} * layout_.representation_bytes);
  open_bytes_ += block_bytes_;
  return {};
}

Status MemoryStore::Write(const SliceWrite& write) {
  const auto found = open_.find(write.id);
  if (found == open_.end()) return NotFound("block " + write.id.Hex() + " is not open");
  Block& block = *found->second;
  if (block.failure) return *block.failure;
  if (write.slice >= layout_.num_slices || block.written[write.slice] || write.data == nullptr ||
      (write.representation == nullptr && layout_.representation_bytes > 0)) {
    return InvalidArgument("block " + write.id.Hex() + ": slice " + std::to_string(write.slice) +
                           " is out of range, written already, or without data");
  }
  if (block.slices.empty()) {
    if (Status room = Allocate(block); !room) return room;
  }
  std::byte* slice = block.slices.data() + write.slice * layout_.slice_bytes;
  std::memcpy(slice, write.data, layout_.slice_bytes);
  block.checksums[write.slice] = Checksum({slice, layout_.slice_bytes});
  if (layout_.representation_bytes > 0) {
    std::memcpy(
        block.representations.data() + std::uint64_t{write.slice} * layout_.representation_bytes,
        write.representation, layout_.representation_bytes);
  }
  block.written[write.slice] = true;
  if (++block.num_written == layout_.num_slices) Commit(write.id);
  return {};
}

void MemoryStore::Commit(const BlockId& id) {
  auto node = open_.extract(id);
  Block& block = *node.mapped();
  block.representations_checksum = Checksum(block.representations);
  open_bytes_ -= block_bytes_;
  index_.Put(id, {block_bytes_, block.stamp_us});
  committed_.insert(std::move(node));
  ++stats_.dumped_blocks;
}

Result<TaskId> MemoryStore::Dump(std::vector<SliceWrite> writes) {
  const TaskTable::Entry entry = tasks_.Add(writes.size());
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < writes.size(); ++i) {
    if (Status status = Write(writes[i]); !status) {
      const auto found = open_.find(writes[i].id);
      if (found != open_.end() && !found->second->failure) {
        found->second->failure = status.error();
      }
      ++stats_.dump_failures;
      entry.task->Fail(i, status.error());
      continue;
    }
    stats_.dumped_bytes += layout_.slice_bytes;
    entry.task->Succeed(layout_.slice_bytes);
  }
  return entry.id;
}

void MemoryStore::Abandon(const BlockId& id) {
  std::lock_guard lock(mutex_);
  const auto found = open_.find(id);
  if (found == open_.end()) return;
  if (!found->second->slices.empty()) open_bytes_ -= block_bytes_;
  open_.erase(found);
}

std::optional<MemoryStore::Part> MemoryStore::PartOf(const Block& block, std::uint32_t part) const {
  if (part == kTokens) return Part{std::as_bytes(std::span(block.tokens)), block.tokens_checksum};
  if (part == kRepresentations) return Part{block.representations, block.representations_checksum};
  if (part >= layout_.num_slices) return std::nullopt;
  return Part{std::span(block.slices).subspan(part * layout_.slice_bytes, layout_.slice_bytes),
              block.checksums[part]};
}

Result<std::uint64_t> MemoryStore::Read(const SliceRead& read) const {
  std::shared_ptr<const Block> block;
  {
    std::lock_guard lock(mutex_);
    const auto found = committed_.find(read.id);
    if (found == committed_.end()) return NotFound("block " + read.id.Hex() + " is not stored");
    block = found->second;
  }
  const std::optional<Part> part = PartOf(*block, read.part);
  if (!part || read.destination == nullptr) {
    return InvalidArgument("block " + read.id.Hex() + ": part " + std::to_string(read.part) +
                           " is out of range, or without a destination");
  }
  std::ranges::copy(part->bytes, read.destination);
  if (Checksum({read.destination, part->bytes.size()}) != part->checksum) {
    return DataError("block " + read.id.Hex() + ": checksum of part " + std::to_string(read.part) +
                     " does not match");
  }
  return part->bytes.size();
}

Result<TaskId> MemoryStore::Load(std::vector<SliceRead> reads) {
  const TaskTable::Entry entry = tasks_.Add(reads.size());
  StoreStats moved;
  std::vector<BlockId> corrupt;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const Result<std::uint64_t> bytes = Read(reads[i]);
    if (!bytes) {
      ++moved.load_failures;
      if (bytes.error().code == ErrorCode::kDataError) corrupt.push_back(reads[i].id);
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
  for (const BlockId& id : corrupt) {
    if (committed_.erase(id) > 0 && index_.Erase(id)) ++stats_.quarantined_blocks;
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
