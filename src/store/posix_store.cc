// The `posix` backend: blocks in folders on SSD or NFS, one file each or several in one.
//
// This file is the verbs. How parts of blocks get to and from disk is posix/block_io.h's.
#include "store/posix/posix_store.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "store/key_file.h"
#include "store/posix/block_io.h"
#include "store/posix/packed_files.h"
#include "store/recency.h"

namespace esa {
namespace {

constexpr int kMaxIoThreads = 256;
constexpr int kMaxIoDepth = 4096;
constexpr std::size_t kFirstPrefixStep = 32;

enum class Place { kStored, kRefused, kFree };  // of a block that shall begin

// A thread that hangs in the disk goes on using this: better kept than waited for, or destroyed.
void Keep(std::unique_ptr<BlockIo> hung) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::unique_ptr<BlockIo>>;
  std::lock_guard lock(mutex);
  kept->push_back(std::move(hung));
}

class PosixStore final : public BlockStore {
 public:
  PosixStore(std::unique_ptr<BlockIo> io, const StoreConfig& config, const BlockLayout& layout)
      : layout_(layout), timeout_(config.timeout_ms), io_(std::move(io)) {}
  ~PosixStore() override;

  Status OpenFolders(const StoreConfig& config) { return io_->OpenFolders(config); }

  const BlockLayout& layout() const override { return layout_; }
  std::vector<bool> Lookup(std::span<const BlockKey> keys) override;
  std::size_t LookupPrefix(std::span<const BlockKey> keys) override;
  Result<TaskId> Prefetch(std::span<const BlockId> ids) override { return io_->Prefetch(ids); }
  Result<bool> Begin(const BlockKey& key, const BlockId& parent, Admission admission) override;
  Result<TaskId> Dump(std::vector<SliceWrite> writes) override { return io_->Dump(writes); }
  void Abandon(const BlockId& id) override { io_->writer().Abandon(id); }
  Result<TaskId> Load(std::vector<SliceRead> reads) override { return io_->Load(reads, nullptr); }
  Result<TaskId> LoadWith(const Crew& crew, std::vector<SliceRead> reads) override {
    return io_->Load(reads, &crew);
  }
  bool Poll(TaskId task) override { return io_->tasks().Poll(task); }
  Result<TaskResult> Wait(TaskId task, Deadline deadline) override {
    return io_->tasks().Wait(task, deadline);
  }
  void Cancel(TaskId task) override { io_->Cancel(task); }
  void RegisterMemory(std::span<std::byte> memory) override { io_->memory().Add(memory); }
  void Pin(std::span<const BlockId> ids) override;
  void Unpin(std::span<const BlockId> ids) override;
  Status Remove(const BlockId& id) override {
    return io_->InTime<Status>([io = io_.get(), id] { return io->FolderOf(id).Remove(id); });
  }
  StoreStats Stats() const override;

 private:
  std::vector<bool> AreHits(std::span<const BlockKey> keys, std::int64_t stamp_us);
  std::int64_t StampBelowParent(const BlockId& parent);
  Result<Place> PlaceFor(const BlockKey& key, Admission admission);

  const BlockLayout layout_;
  const std::chrono::milliseconds timeout_;
  RecencyClock clock_;
  std::atomic<std::uint64_t> lookup_hits_{0};
  std::atomic<std::uint64_t> lookup_misses_{0};
  std::atomic<std::uint64_t> refused_blocks_{0};
  std::unique_ptr<BlockIo> io_;
};

PosixStore::~PosixStore() {
  if (!io_->Stop(timeout_)) Keep(std::move(io_));
}

// Hits are stamped from `stamp_us` downwards, by their places.
std::vector<bool> PosixStore::AreHits(std::span<const BlockKey> keys, std::int64_t stamp_us) {
  std::vector<BlockId> ids;
  for (const BlockKey& key : keys) ids.push_back(key.id);
  const std::vector<BlockIo::Head> heads = io_->HeadsOf(ids);
  std::vector<bool> hits(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    hits[i] = heads[i].ok() && std::ranges::equal((*heads[i])->tokens, keys[i].tokens);
    if (!hits[i]) continue;
    const std::int64_t stamp = stamp_us - static_cast<std::int64_t>(i);
    io_->FolderOf(ids[i]).Use(ids[i], {io_->areas().file_bytes, stamp});
  }
  return hits;
}

std::vector<bool> PosixStore::Lookup(std::span<const BlockKey> keys) {
  const std::int64_t stamp_us = clock_.Take(static_cast<std::int64_t>(keys.size()));
  const std::vector<bool> hits = AreHits(keys, stamp_us);
  const auto num_hits = static_cast<std::uint64_t>(std::ranges::count(hits, true));
  lookup_hits_ += num_hits;
  lookup_misses_ += keys.size() - num_hits;
  return hits;
}

// In growing steps: what lies behind the first miss is looked at for nothing.
std::size_t PosixStore::LookupPrefix(std::span<const BlockKey> keys) {
  std::int64_t stamp_us = clock_.Take(static_cast<std::int64_t>(keys.size()));
  std::size_t hits = 0;
  for (std::size_t step = kFirstPrefixStep; hits < keys.size(); step *= 2) {
    const auto next = keys.subspan(hits, std::min(step, keys.size() - hits));
    const std::vector<bool> found = AreHits(next, stamp_us);
    const auto prefix = std::ranges::find(found, false) - found.begin();
    hits += static_cast<std::size_t>(prefix);
    stamp_us -= prefix;
    if (static_cast<std::size_t>(prefix) < next.size()) break;
  }
  lookup_hits_ += hits;
  if (hits < keys.size()) ++lookup_misses_;
  return hits;
}

std::int64_t PosixStore::StampBelowParent(const BlockId& parent) {
  if (const auto open = io_->writer().StampOf(parent)) return StampBelow(*open);
  if (const auto stored = io_->FolderOf(parent).StampOf(parent)) return StampBelow(*stored);
  return clock_.Take(1);
}

Result<bool> PosixStore::Begin(const BlockKey& key, const BlockId& parent, Admission admission) {
  if (key.tokens.size() != layout_.block_tokens) {
    return InvalidArgument("block " + key.id.Hex() + ": " + std::to_string(key.tokens.size()) +
                           " tokens, expected " + std::to_string(layout_.block_tokens));
  }
  // In this order: a block leaves the open ones only after it can be found stored.
  if (io_->writer().IsOpen(key.id)) return false;
  const Result<Place> place = PlaceFor(key, admission);
  if (!place) return place.error();
  if (*place == Place::kRefused) ++refused_blocks_;
  if (*place != Place::kFree) return false;
  return io_->writer().Begin(io_->FolderOf(key.id), key, parent, StampBelowParent(parent));
}

Result<Place> PosixStore::PlaceFor(const BlockKey& key, Admission admission) {
  Folder& known = io_->FolderOf(key.id);
  // What this store does not know of is as a rule not there, and if so another process may store it
  // all the same before this one does: no need to wait for a look at the disk. Written twice is
  // written right.
  if (!known.StampOf(key.id) && known.AdmitsWithoutDisk()) {
    return known.Admit(key.id, io_->areas().file_bytes, admission) ? Place::kFree : Place::kRefused;
  }
  const auto look = [io = io_.get(), id = key.id, admission,
                     tokens =
                         std::vector(key.tokens.begin(), key.tokens.end())]() -> Result<Place> {
    Folder& folder = io->FolderOf(id);
    const auto head = io->HeadOf(id);
    // The file is looked for, other than by a lookup: false may cost the caller his only copy.
    if (head.ok() && folder.Exists(id)) {
      if (std::ranges::equal((*head)->tokens, tokens)) return Place::kStored;
      return InvalidArgument("block " + id.Hex() + ": stored with other tokens");
    }
    io->reader().Drop(id);
    return folder.Admit(id, io->areas().file_bytes, admission) ? Place::kFree : Place::kRefused;
  };
  return io_->InTime<Result<Place>>(look);
}

void PosixStore::Pin(std::span<const BlockId> ids) {
  for (const BlockId& id : ids) io_->FolderOf(id).Pin(id);
}

void PosixStore::Unpin(std::span<const BlockId> ids) {
  for (const BlockId& id : ids) io_->FolderOf(id).Unpin(id);
}

StoreStats PosixStore::Stats() const {
  StoreStats stats;
  io_->AddTo(&stats);
  stats.backend = "posix";
  stats.lookup_hits = lookup_hits_;
  stats.lookup_misses = lookup_misses_;
  stats.refused_blocks = refused_blocks_;
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
  if (config.io_depth < 1 || config.io_depth > kMaxIoDepth) {
    return InvalidArgument("io_depth: is " + std::to_string(config.io_depth) + ", expected 1 to " +
                           std::to_string(kMaxIoDepth));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<BlockStore>> CreatePosixStoreOn(std::unique_ptr<FileSystem> files,
                                                       const StoreConfig& config,
                                                       const BlockLayout& layout) {
  if (Status valid = CheckConfig(config); !valid) return valid.error();
  auto key = ReadStoreKey(config.encryption_key_file);
  if (!key) return key.error();
  std::unique_ptr<const BlockCipher> cipher;
  if (*key) cipher = std::make_unique<BlockCipher>(**std::move(key));
  files = MakePackedFiles(std::move(files), {.pack_below_bytes = config.pack_below_bytes,
                                             .capacity_bytes = config.capacity_bytes,
                                             .durable = config.durability == Durability::kCommit});
  auto io = std::make_unique<BlockIo>(std::move(files), std::move(cipher), config, layout);
  auto store = std::make_unique<PosixStore>(std::move(io), config, layout);
  if (Status opened = store->OpenFolders(config); !opened) return opened.error();
  return std::unique_ptr<BlockStore>(std::move(store));
}

Result<std::unique_ptr<BlockStore>> CreatePosixStore(const StoreConfig& config,
                                                     const BlockLayout& layout) {
  return CreatePosixStoreOn(MakeRealFileSystem(), config, layout);
}

}  // namespace esa
