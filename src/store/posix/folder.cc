#include "store/posix/folder.h"

#include <utility>

#include "store/posix/file_names.h"

namespace esa {
namespace {

constexpr std::uint64_t kScansPerCapacity = 16;

}  // namespace

std::string Folder::PathOf(const BlockId& id) const { return BlockPath(options_.path, id); }

std::string Folder::NewTemporaryPath(const BlockId& id) {
  return TemporaryPath(options_.path, id, owner_, next_temporary_.fetch_add(1));
}

Status Folder::Reserve(std::uint64_t bytes) {
  if (options_.capacity_bytes == 0) {
    std::lock_guard lock(mutex_);
    reserved_bytes_ += bytes;
    return {};
  }
  bool scan = false;
  {
    std::lock_guard lock(mutex_);
    scan = unscanned_bytes_ > options_.capacity_bytes / kScansPerCapacity;
    if (scan) unscanned_bytes_ = 0;
  }
  // A failure to list is not one of this dump: the counts are just as old as they were.
  if (scan) (void)Scan();
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      const std::uint64_t used = index_.bytes() + reserved_bytes_ + leaving_bytes_;
      if (used + bytes <= options_.capacity_bytes) {
        reserved_bytes_ += bytes;
        return {};
      }
    }
    if (bytes > options_.capacity_bytes) return NoRoom(bytes);
    if (Status status = EvictOne(bytes); !status) return status;
  }
}

Error Folder::NoRoom(std::uint64_t wanted) const {
  return ResourceExhausted(options_.path + ": no room for " + std::to_string(wanted) +
                           " bytes in a capacity of " + std::to_string(options_.capacity_bytes) +
                           ": all else is pinned or being written");
}

Status Folder::EvictOne(std::uint64_t wanted) {
  BlockId id;
  BlockIndex::Entry entry;
  {
    std::lock_guard lock(mutex_);
    const std::optional<BlockId> oldest = index_.Oldest();
    if (!oldest) return NoRoom(wanted);
    id = *oldest;
    entry = *index_.Find(id);
    index_.Erase(id);
    leaving_bytes_ += entry.bytes;
  }
  const Result<PathInfo> info = files_.Stat(PathOf(id));
  const bool used_elsewhere = info.ok() && info->modified_us > entry.stamp_us;
  Status removed;
  if (!used_elsewhere) {
    removed = files_.Remove(PathOf(id));
    if (options_.on_gone) options_.on_gone(id);
  }
  const bool stays = used_elsewhere || (!removed && removed.error().code != ErrorCode::kNotFound);
  std::lock_guard lock(mutex_);
  leaving_bytes_ -= entry.bytes;
  if (stays) {
    // Unless it was committed anew meanwhile.
    if (index_.Find(id) == nullptr) {
      index_.Put(id, {entry.bytes, used_elsewhere ? info->modified_us : entry.stamp_us});
    }
    return used_elsewhere ? Status() : removed;
  }
  if (removed.ok()) ++evicted_blocks_;
  return {};
}

void Folder::Release(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  reserved_bytes_ -= bytes;
}

Status Folder::MakeFanOut(const BlockId& id) {
  {
    std::lock_guard lock(mutex_);
    synced_fans_.reset(id.bytes[0]);
  }
  return files_.MakeFolder(FanOutPath(options_.path, id));
}

Status Folder::Commit(const std::string& temporary, const BlockId& id, BlockIndex::Entry entry) {
  // A filesystem that keeps no times costs recency after a restart, not the block.
  (void)files_.SetModified(temporary, entry.stamp_us);
  if (Status status = files_.Rename(temporary, PathOf(id)); !status) return status;
  if (Status status = SyncNameOf(id); !status) {
    TakeBack(id, entry);
    return status;
  }
  {
    std::lock_guard lock(mutex_);
    reserved_bytes_ -= entry.bytes;
    unscanned_bytes_ += entry.bytes;
    refused_.erase(id);
    index_.Put(id, entry);
  }
  if (options_.on_gone) options_.on_gone(id);
  return {};
}

// Who made the fan-out folder may not have synced its name: another thread that is about to, or a
// store without durability.
Status Folder::SyncNameOf(const BlockId& id) {
  if (!options_.durable) return {};
  const std::size_t fan = id.bytes[0];
  bool synced = false;
  {
    std::lock_guard lock(mutex_);
    synced = synced_fans_.test(fan);
  }
  if (!synced) {
    if (Status status = files_.SyncFolder(options_.path); !status) return status;
    std::lock_guard lock(mutex_);
    synced_fans_.set(fan);
  }
  return files_.SyncFolder(FanOutPath(options_.path, id));
}

// A commit that is reported as failed must not be found.
void Folder::TakeBack(const BlockId& id, BlockIndex::Entry entry) {
  const Status removed = files_.Remove(PathOf(id));
  {
    std::lock_guard lock(mutex_);
    index_.Erase(id);
    // It stays, complete: then it counts, and can be evicted.
    if (!removed && removed.error().code != ErrorCode::kNotFound) index_.Put(id, entry);
  }
  if (options_.on_gone) options_.on_gone(id);
}

Status Folder::Use(const BlockId& id, BlockIndex::Entry entry) {
  const Status touched = files_.SetModified(PathOf(id), entry.stamp_us);
  if (!touched && touched.error().code == ErrorCode::kNotFound) {
    Forget(id);
    return touched;
  }
  std::lock_guard lock(mutex_);
  index_.Put(id, entry);
  return {};
}

bool Folder::Exists(const BlockId& id) const { return files_.Stat(PathOf(id)).ok(); }

std::optional<std::int64_t> Folder::StampOf(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  const BlockIndex::Entry* entry = index_.Find(id);
  if (entry == nullptr) return std::nullopt;
  return entry->stamp_us;
}

void Folder::Forget(const BlockId& id) {
  std::lock_guard lock(mutex_);
  index_.Erase(id);
}

bool Folder::Quarantine(const BlockId& id) {
  TrimQuarantine();
  Status moved = files_.Rename(PathOf(id), QuarantinePath(options_.path, id));
  const bool vanished = !moved && moved.error().code == ErrorCode::kNotFound;
  if (!moved && !vanished) moved = files_.Remove(PathOf(id));
  std::lock_guard lock(mutex_);
  if (!moved && !vanished) refused_.insert(id);
  return index_.Erase(id) || !vanished;
}

void Folder::TrimQuarantine() {
  const std::string folder = options_.path + "/" + kQuarantineName;
  const auto names = files_.List(folder);
  if (!names || names->size() < kMaxQuarantined) return;
  for (std::size_t i = kMaxQuarantined - 1; i < names->size(); ++i) {
    (void)files_.Remove(folder + "/" + (*names)[i]);
  }
}

bool Folder::Refused(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  return refused_.contains(id);
}

Status Folder::Remove(const BlockId& id) {
  const Status removed = files_.Remove(PathOf(id));
  if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
  Forget(id);
  if (options_.on_gone) options_.on_gone(id);
  if (!removed) return NotFound("block " + id.Hex() + " is not stored");
  return {};
}

void Folder::Pin(const BlockId& id) {
  std::lock_guard lock(mutex_);
  index_.Pin(id);
}

void Folder::Unpin(const BlockId& id) {
  std::lock_guard lock(mutex_);
  index_.Unpin(id);
}

void Folder::AddTo(StoreStats* stats) const {
  std::lock_guard lock(mutex_);
  stats->blocks += index_.blocks();
  stats->bytes += index_.bytes();
  stats->evicted_blocks += evicted_blocks_;
}

}  // namespace esa
