#include "store/posix/folder.h"

#include <algorithm>
#include <utility>

#include "store/posix/file_names.h"

namespace esa {

std::string Folder::PathOf(const BlockId& id) const { return BlockPath(options_.path, id); }

std::string Folder::NewTemporaryPath(const BlockId& id) {
  return TemporaryPath(options_.path, id, owner_, next_temporary_.fetch_add(1));
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
  (void)files_.SetModified(temporary, entry.stamp_us + clock_ahead_us_);
  if (Status renamed = RenameCounted(temporary, id, entry); !renamed) return renamed;
  if (Status synced = SyncNameOf(id); !synced) {
    TakeBack(id, entry.bytes);
    return synced;
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

void Folder::Use(const BlockId& id, BlockIndex::Entry entry) {
  {
    std::lock_guard lock(mutex_);
    if (index_.Find(id) != nullptr) {
      if (index_.Touch(id, entry)) used_.push_back(id);
      return;
    }
  }
  // Another store's, or removed just now.
  std::lock_guard names(ledger_mutex_);
  if (!Exists(id)) return;
  std::lock_guard lock(mutex_);
  if (index_.Touch(id, entry)) used_.push_back(id);
}

void Folder::Flush() {
  WriteMarks();
  PublishPins();
}

void Folder::WriteMarks() {
  std::vector<std::pair<std::int64_t, BlockId>> marks;
  {
    std::lock_guard lock(mutex_);
    for (const BlockId& id : std::exchange(used_, {})) {
      const BlockIndex::Entry* entry = index_.Find(id);
      if (entry == nullptr || !entry->unmarked) continue;
      marks.emplace_back(entry->stamp_us, id);
      index_.SetMarked(id);
    }
  }
  // Parents have the later stamps: whoever dies half way leaves them ahead of their children.
  std::ranges::sort(marks, std::greater());
  for (const auto& [stamp_us, id] : marks) {
    const Status marked = files_.SetModified(PathOf(id), stamp_us + clock_ahead_us_);
    if (!marked && marked.error().code == ErrorCode::kNotFound) ForgetVanished(id, stamp_us);
  }
}

void Folder::ForgetVanished(const BlockId& id, std::int64_t stamp_us) {
  {
    std::lock_guard lock(mutex_);
    const BlockIndex::Entry* entry = index_.Find(id);
    // Unless it was used or committed anew meanwhile: then its next mark will tell.
    if (entry == nullptr || entry->stamp_us != stamp_us) return;
    vanished_bytes_ += entry->bytes;
    index_.Erase(id);
  }
  if (options_.on_gone) options_.on_gone(id);
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
  if (const BlockIndex::Entry* entry = index_.Find(id)) vanished_bytes_ += entry->bytes;
  index_.Erase(id);
}

std::uint64_t Folder::BytesOf(const BlockId& id) const {
  const Result<PathInfo> info = files_.Stat(PathOf(id));
  return info.ok() ? info->bytes : IndexedBytes(id);
}

std::uint64_t Folder::IndexedBytes(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  const BlockIndex::Entry* known = index_.Find(id);
  return known == nullptr ? 0 : known->bytes;
}

bool Folder::Quarantine(const BlockId& id) {
  bool known = false;
  const Status moved = DropCounted(id, 0, [&] {
    known = IndexedBytes(id) > 0;
    Status status = MakeRoomInQuarantine(BytesOf(id))
                        ? files_.Rename(PathOf(id), QuarantinePath(options_.path, id))
                        : files_.Remove(PathOf(id));
    const bool vanished = !status && status.error().code == ErrorCode::kNotFound;
    if (!status && !vanished) status = files_.Remove(PathOf(id));
    return status;
  });
  const bool vanished = !moved && moved.error().code == ErrorCode::kNotFound;
  if (moved.ok() || vanished) return known || !vanished;
  std::lock_guard lock(mutex_);
  refused_.insert(id);
  index_.Erase(id);
  return true;
}

bool Folder::MakeRoomInQuarantine(std::uint64_t bytes) {
  if (bytes > kMaxQuarantinedBytes) return false;
  const std::string folder = options_.path + "/" + kQuarantineName;
  auto files = files_.ListFiles(folder);
  if (!files) return true;
  std::ranges::sort(*files, std::greater(), &ListedFile::modified_us);
  for (std::size_t i = 0; i < files->size(); ++i) {
    const ListedFile& file = (*files)[i];
    bytes += file.bytes;
    if (i + 1 < kMaxQuarantined && bytes <= kMaxQuarantinedBytes) continue;
    (void)files_.Remove(folder + "/" + file.name);
  }
  return true;
}

bool Folder::Refused(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  return refused_.contains(id);
}

Status Folder::Remove(const BlockId& id) {
  const Status removed = DropCounted(id, 0, [&] { return files_.Remove(PathOf(id)); });
  if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
  if (options_.on_gone) options_.on_gone(id);
  if (!removed) return NotFound("block " + id.Hex() + " is not stored");
  return {};
}

void Folder::AddTo(StoreStats* stats) const {
  std::lock_guard lock(mutex_);
  stats->blocks += index_.blocks();
  stats->bytes += index_.bytes();
  stats->evicted_blocks += evicted_blocks_;
  stats->removed_leftovers += removed_leftovers_;
}

}  // namespace esa
