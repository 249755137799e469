// The `posix` backend: one file per block in folders on SSD or NFS, moved by a few threads.
//
// This file is the verbs: it turns tasks into jobs and failures into counters. What a folder holds
// is folder.h's, bytes on their way to disk block_writer.h's, bytes from disk block_reader.h's.
#include "store/posix/posix_store.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "store/checksum.h"
#include "store/io_pool.h"
#include "store/posix/block_reader.h"
#include "store/posix/block_writer.h"
#include "store/posix/folder.h"
#include "store/posix/recency_writer.h"
#include "store/recency.h"
#include "store/task_table.h"

namespace esa {
namespace {

// Parts of one block that one job reads: few enough that a block's slices spread over the threads,
// enough that the way through the queue does not show.
constexpr std::size_t kReadsPerJob = 8;

constexpr int kMaxIoThreads = 256;

class PosixStore final : public BlockStore {
 public:
  PosixStore(std::unique_ptr<FileSystem> files, const StoreConfig& config,
             const BlockLayout& layout)
      : layout_(layout),
        areas_(layout),
        files_(std::move(files)),
        reader_(*files_, layout),
        pool_(config.io_threads, config.queue_bytes) {}
  ~PosixStore() override;

  Status OpenFolders(const StoreConfig& config);

  const BlockLayout& layout() const override { return layout_; }
  std::vector<bool> Lookup(std::span<const BlockKey> keys) override;
  std::size_t LookupPrefix(std::span<const BlockKey> keys) override;
  Result<TaskId> Prefetch(std::span<const BlockId> ids) override;
  Result<bool> Begin(const BlockKey& key, const BlockId& parent, Admission admission) override;
  Result<TaskId> Dump(std::vector<SliceWrite> writes) override;
  void Abandon(const BlockId& id) override { writer_->Abandon(id); }
  Result<TaskId> Load(std::vector<SliceRead> reads) override;
  bool Poll(TaskId task) override { return tasks_.Poll(task); }
  Result<TaskResult> Wait(TaskId task, Deadline deadline) override {
    return tasks_.Wait(task, deadline);
  }
  void Cancel(TaskId task) override;
  void Pin(std::span<const BlockId> ids) override;
  void Unpin(std::span<const BlockId> ids) override;
  Status Remove(const BlockId& id) override { return FolderOf(id).Remove(id); }
  StoreStats Stats() const override;

 private:
  struct Read {
    std::size_t part;  // of the task
    SliceRead read;
  };

  Folder& FolderOf(const BlockId& id) const;
  Result<std::shared_ptr<const BlockHead>> HeadOf(const BlockId& id);
  bool IsHit(const BlockKey& key, std::int64_t stamp_us);
  std::int64_t StampBelowParent(const BlockId& parent);
  Status ReadVerified(const SliceRead& read);
  void Quarantine(const BlockId& id);

  void SubmitWrite(const TaskTable::Entry& entry, std::size_t part,
                   std::shared_ptr<OpenBlock> block, const SliceWrite& write);
  void SubmitReads(const TaskTable::Entry& entry, std::vector<Read> reads);
  void RunWrite(Task& task, std::size_t part, OpenBlock& block, const SliceWrite& write);
  void EndRead(Task& task, const Read& read, const Status& status);
  void FailWrite(Task& task, std::size_t part, Error error);

  template <class Change>
  void Count(Change change) {
    std::lock_guard lock(counters_mutex_);
    change(counters_);
  }

  const BlockLayout layout_;
  const BlockAreas areas_;
  RecencyClock clock_;
  std::unique_ptr<FileSystem> files_;
  BlockReader reader_;
  std::vector<std::unique_ptr<Folder>> folders_;  // fixed once open
  std::unique_ptr<RecencyWriter> recency_writer_;
  std::unique_ptr<BlockWriter> writer_;  // after the folders its blocks lie in
  TaskTable tasks_;
  mutable std::mutex counters_mutex_;
  StoreStats counters_;  // guarded by counters_mutex_; what the folders do not know
  IoPool pool_;          // last: its threads use all of the above
};

PosixStore::~PosixStore() {
  tasks_.CancelAll([this](TaskId task) { pool_.Drop(task); });
}

Status PosixStore::OpenFolders(const StoreConfig& config) {
  for (const std::string& name : config.storage_backends) {
    std::string path = std::filesystem::path(name).lexically_normal().string();
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    for (const auto& other : folders_) {
      if (other->path() == path) {
        return InvalidArgument("storage_backends: " + path + " stands there twice");
      }
    }
    auto folder =
        Folder::Open(*files_, {.path = path,
                               .capacity_bytes = config.capacity_bytes,
                               .direct = config.io_direct,
                               .durable = config.durability == Durability::kCommit,
                               .allow_shared = config.allow_shared_folder,
                               .second_touch = config.second_touch,
                               .write_bytes_per_day = config.write_bytes_per_day,
                               .on_gone = [this](const BlockId& id) { reader_.Drop(id); }});
    if (!folder) return folder.error();
    folders_.push_back(*std::move(folder));
  }
  counters_.capacity_bytes = config.capacity_bytes * folders_.size();
  writer_ = std::make_unique<BlockWriter>(*files_, layout_);
  std::vector<Folder*> folders;
  for (const auto& folder : folders_) folders.push_back(folder.get());
  recency_writer_ = std::make_unique<RecencyWriter>(std::move(folders));
  return {};
}

// Rendezvous hashing (Thaler, Ravishankar 1998): one folder more or less moves only the blocks
// that it takes or held, and the order in the configuration does not matter.
Folder& PosixStore::FolderOf(const BlockId& id) const {
  Folder* best = folders_.front().get();
  if (folders_.size() == 1) return *best;
  std::uint64_t best_weight = 0;
  for (const auto& folder : folders_) {
    std::string key = folder->path();
    key.append(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
    const std::uint64_t weight = Checksum(std::as_bytes(std::span(key)));
    if (weight < best_weight) continue;
    best_weight = weight;
    best = folder.get();
  }
  return *best;
}

Result<std::shared_ptr<const BlockHead>> PosixStore::HeadOf(const BlockId& id) {
  Folder& folder = FolderOf(id);
  if (folder.Refused(id)) return NotFound("block " + id.Hex() + " was found corrupt");
  const bool known = folder.StampOf(id).has_value();
  auto head = reader_.Head(folder, id);
  if (!head && head.error().code == ErrorCode::kDataError) Quarantine(id);
  if (!head && head.error().code == ErrorCode::kNotFound && known) folder.Forget(id);
  return head;
}

bool PosixStore::IsHit(const BlockKey& key, std::int64_t stamp_us) {
  const auto head = HeadOf(key.id);
  if (!head || !std::ranges::equal((*head)->tokens, key.tokens)) return false;
  FolderOf(key.id).Use(key.id, {areas_.file_bytes, stamp_us});
  return true;
}

std::vector<bool> PosixStore::Lookup(std::span<const BlockKey> keys) {
  std::int64_t stamp_us = clock_.Take(static_cast<std::int64_t>(keys.size()));
  std::vector<bool> hits(keys.size());
  std::uint64_t num_hits = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    hits[i] = IsHit(keys[i], stamp_us--);
    num_hits += hits[i] ? 1 : 0;
  }
  Count([&](StoreStats& stats) {
    stats.lookup_hits += num_hits;
    stats.lookup_misses += keys.size() - num_hits;
  });
  return hits;
}

std::size_t PosixStore::LookupPrefix(std::span<const BlockKey> keys) {
  std::int64_t stamp_us = clock_.Take(static_cast<std::int64_t>(keys.size()));
  std::size_t hits = 0;
  while (hits < keys.size() && IsHit(keys[hits], stamp_us--)) ++hits;
  Count([&](StoreStats& stats) {
    stats.lookup_hits += hits;
    if (hits < keys.size()) ++stats.lookup_misses;
  });
  return hits;
}

Result<TaskId> PosixStore::Prefetch(std::span<const BlockId> ids) {
  const TaskTable::Entry entry = tasks_.Add(ids.size());
  for (const BlockId& id : ids) {
    // Best effort: what cannot be had fails when it is loaded.
    const auto run = [this, task = entry.task, id] {
      (void)reader_.Prefetch(FolderOf(id), id);
      task->Succeed(0);
    };
    const auto drop = [task = entry.task] { task->Succeed(0); };
    pool_.Submit(IoPool::Lane::kPrefetch, {.tag = entry.id, .run = run, .drop = drop});
  }
  return entry.id;
}

std::int64_t PosixStore::StampBelowParent(const BlockId& parent) {
  if (const auto open = writer_->StampOf(parent)) return StampBelow(*open);
  if (const auto stored = FolderOf(parent).StampOf(parent)) return StampBelow(*stored);
  return clock_.Take(1);
}

Result<bool> PosixStore::Begin(const BlockKey& key, const BlockId& parent, Admission admission) {
  if (key.tokens.size() != layout_.block_tokens) {
    return InvalidArgument("block " + key.id.Hex() + ": " + std::to_string(key.tokens.size()) +
                           " tokens, expected " + std::to_string(layout_.block_tokens));
  }
  // In this order: a block leaves the open ones only after it can be found stored.
  if (writer_->IsOpen(key.id)) return false;
  Folder& folder = FolderOf(key.id);
  const auto head = HeadOf(key.id);
  // The file is looked for, other than by a lookup: false may cost the caller his only copy.
  if (head.ok() && folder.Exists(key.id)) {
    if (std::ranges::equal((*head)->tokens, key.tokens)) return false;
    return InvalidArgument("block " + key.id.Hex() + ": stored with other tokens");
  }
  reader_.Drop(key.id);
  if (!folder.Admit(key.id, areas_.file_bytes, admission)) {
    Count([](StoreStats& stats) { ++stats.refused_blocks; });
    return false;
  }
  return writer_->Begin(folder, key, parent, StampBelowParent(parent));
}

Result<TaskId> PosixStore::Dump(std::vector<SliceWrite> writes) {
  const TaskTable::Entry entry = tasks_.Add(writes.size());
  std::vector<std::pair<std::size_t, std::shared_ptr<OpenBlock>>> taken;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    auto block = writer_->Take(writes[i]);
    if (block) {
      taken.emplace_back(i, *std::move(block));
    } else {
      FailWrite(*entry.task, i, block.error());
    }
  }
  pool_.Admit(taken.size() * layout_.slice_bytes);
  for (auto& [part, block] : taken) SubmitWrite(entry, part, std::move(block), writes[part]);
  return entry.id;
}

void PosixStore::SubmitWrite(const TaskTable::Entry& entry, std::size_t part,
                             std::shared_ptr<OpenBlock> block, const SliceWrite& write) {
  const auto drop = [this, task = entry.task, part, block] {
    Error error = Cancelled("block " + block->head.id.Hex() + ": the dump was cancelled");
    writer_->Fail(*block, error);
    FailWrite(*task, part, std::move(error));
  };
  const auto run = [this, task = entry.task, part, block, write, drop] {
    if (!task->Enter()) return drop();
    RunWrite(*task, part, *block, write);
    task->Leave();
  };
  pool_.Submit(IoPool::Lane::kDump,
               {.tag = entry.id, .bytes = layout_.slice_bytes, .run = run, .drop = drop});
}

void PosixStore::RunWrite(Task& task, std::size_t part, OpenBlock& block, const SliceWrite& write) {
  bool committed = false;
  const Status written = writer_->Write(block, write.slice, write.data, &committed);
  if (!written) return FailWrite(task, part, written.error());
  Count([&](StoreStats& stats) {
    stats.dumped_bytes += layout_.slice_bytes;
    if (committed) ++stats.dumped_blocks;
  });
  task.Succeed(layout_.slice_bytes);
}

void PosixStore::FailWrite(Task& task, std::size_t part, Error error) {
  Count([](StoreStats& stats) { ++stats.dump_failures; });
  task.Fail(part, std::move(error));
}

Result<TaskId> PosixStore::Load(std::vector<SliceRead> reads) {
  const TaskTable::Entry entry = tasks_.Add(reads.size());
  std::map<BlockId, std::vector<Read>> by_block;
  for (std::size_t i = 0; i < reads.size(); ++i) by_block[reads[i].id].push_back({i, reads[i]});
  for (auto& [id, parts] : by_block) {
    // As they lie on disk.
    std::sort(parts.begin(), parts.end(),
              [](const Read& a, const Read& b) { return a.read.part < b.read.part; });
    for (std::size_t at = 0; at < parts.size(); at += kReadsPerJob) {
      const std::size_t end = std::min(parts.size(), at + kReadsPerJob);
      SubmitReads(entry, {parts.begin() + static_cast<std::ptrdiff_t>(at),
                          parts.begin() + static_cast<std::ptrdiff_t>(end)});
    }
  }
  return entry.id;
}

void PosixStore::SubmitReads(const TaskTable::Entry& entry, std::vector<Read> reads) {
  const auto shared = std::make_shared<const std::vector<Read>>(std::move(reads));
  const auto drop = [this, task = entry.task, shared] {
    for (const Read& read : *shared) EndRead(*task, read, Cancelled("the load was cancelled"));
  };
  const auto run = [this, task = entry.task, shared, drop] {
    if (!task->Enter()) return drop();
    for (const Read& read : *shared) EndRead(*task, read, ReadVerified(read.read));
    task->Leave();
  };
  pool_.Submit(IoPool::Lane::kLoad, {.tag = entry.id, .run = run, .drop = drop});
}

void PosixStore::EndRead(Task& task, const Read& read, const Status& status) {
  const std::uint64_t bytes = reader_.PartBytes(read.read.part);
  Count([&](StoreStats& stats) {
    if (!status) {
      ++stats.load_failures;
      return;
    }
    if (read.read.part < layout_.num_slices) ++stats.loaded_slices;
    stats.loaded_bytes += bytes;
  });
  status.ok() ? task.Succeed(bytes) : task.Fail(read.part, status.error());
}

Status PosixStore::ReadVerified(const SliceRead& read) {
  if ((read.part >= layout_.num_slices && read.part != kRepresentations && read.part != kTokens) ||
      read.destination == nullptr) {
    return InvalidArgument("block " + read.id.Hex() + ": part " + std::to_string(read.part) +
                           " is out of range, or without a destination");
  }
  Folder& folder = FolderOf(read.id);
  if (folder.Refused(read.id)) return NotFound("block " + read.id.Hex() + " was found corrupt");
  Status status = reader_.Read(folder, read.id, read.part, read.destination);
  if (!status && status.error().code == ErrorCode::kDataError) {
    // Once more from the start: another process may have replaced the file, so that the head at
    // hand is of the old one and the bytes are of the new.
    reader_.Drop(read.id);
    status = reader_.Read(folder, read.id, read.part, read.destination);
  }
  if (status.ok()) return status;
  if (status.error().code == ErrorCode::kDataError) Quarantine(read.id);
  if (status.error().code == ErrorCode::kNotFound) {
    reader_.Drop(read.id);
    folder.Forget(read.id);
  }
  return status;
}

void PosixStore::Quarantine(const BlockId& id) {
  const bool moved = FolderOf(id).Quarantine(id);
  reader_.Drop(id);
  if (moved) Count([](StoreStats& stats) { ++stats.quarantined_blocks; });
}

void PosixStore::Cancel(TaskId task) {
  tasks_.Cancel(task, [this](TaskId id) { pool_.Drop(id); });
}

void PosixStore::Pin(std::span<const BlockId> ids) {
  for (const BlockId& id : ids) FolderOf(id).Pin(id);
}

void PosixStore::Unpin(std::span<const BlockId> ids) {
  for (const BlockId& id : ids) FolderOf(id).Unpin(id);
}

StoreStats PosixStore::Stats() const {
  StoreStats stats;
  {
    std::lock_guard lock(counters_mutex_);
    stats = counters_;
  }
  stats.backend = "posix";
  for (const auto& folder : folders_) folder->AddTo(&stats);
  stats.pending_tasks = tasks_.Pending();
  return stats;
}

Status CheckConfig(const StoreConfig& config) {
  if (config.storage_backends.empty()) {
    return InvalidArgument("storage_backends: expected at least one folder");
  }
  if (config.io_threads < 1 || config.io_threads > kMaxIoThreads) {
    return InvalidArgument("io_threads: is " + std::to_string(config.io_threads) +
                           ", expected 1 to " + std::to_string(kMaxIoThreads));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<BlockStore>> CreatePosixStoreOn(std::unique_ptr<FileSystem> files,
                                                       const StoreConfig& config,
                                                       const BlockLayout& layout) {
  if (Status valid = CheckConfig(config); !valid) return valid.error();
  auto store = std::make_unique<PosixStore>(std::move(files), config, layout);
  if (Status opened = store->OpenFolders(config); !opened) return opened.error();
  return std::unique_ptr<BlockStore>(std::move(store));
}

Result<std::unique_ptr<BlockStore>> CreatePosixStore(const StoreConfig& config,
                                                     const BlockLayout& layout) {
  return CreatePosixStoreOn(MakeRealFileSystem(), config, layout);
}

}  // namespace esa
