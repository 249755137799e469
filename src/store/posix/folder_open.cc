// Taking a folder into use: its ownership, what dead stores left, and the scan.
#include <utility>
#include <vector>

#include "store/posix/aligned_bytes.h"
#include "store/posix/file_names.h"
#include "store/posix/folder.h"

namespace esa {
namespace {

constexpr std::uint32_t kWritableByOthers = 022;

std::string Octal(std::uint32_t mode) {
  std::string digits;
  for (int shift = 9; shift >= 0; shift -= 3) {
    digits.push_back(static_cast<char>('0' + ((mode >> shift) & 7u)));
  }
  return digits;
}

Status CheckFolder(FileSystem& files, const std::string& path) {
  const Result<PathInfo> info = files.Stat(path);
  if (!info) return info.error();
  if (!info->folder) return InvalidArgument(path + ": expected a folder, found a file");
  if ((info->mode & kWritableByOthers) != 0) {
    return InvalidArgument(path + ": mode " + Octal(info->mode) +
                           " lets others write, who could forge blocks; mend it with: chmod 700 " +
                           path);
  }
  return {};
}

std::string ParentOf(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Makes the folder, with parents, and syncs its name and theirs: a former store may have made them
// without. Names that stood already are synced as far as this process may open their folders.
Status MakeDurableFolder(FileSystem& files, const std::string& path) {
  const std::string parent = ParentOf(path);
  if (path == parent || path == ".") return {};
  if (Status status = MakeDurableFolder(files, parent); !status) return status;
  const bool stood = files.Stat(path).ok();
  if (Status status = files.MakeFolder(path); !status) return status;
  const Status synced = files.SyncFolder(parent);
  return stood ? Status() : synced;
}

bool IsNotFound(const Status& status) {
  return !status && status.error().code == ErrorCode::kNotFound;
}

}  // namespace

Folder::Folder(FileSystem& files, Options options)
    : files_(files), options_(std::move(options)), owner_(MakeOwner()) {}

// The block writer has removed this store's temporaries by now; then the owner file may go.
Folder::~Folder() {
  if (owner_lock_ != nullptr) (void)files_.Remove(OwnerPath(options_.path, owner_));
}

Result<std::unique_ptr<Folder>> Folder::Open(FileSystem& files, Options options) {
  std::unique_ptr<Folder> folder(new Folder(files, std::move(options)));
  if (Status status = folder->Prepare(); !status) return status.error();
  if (Status status = folder->Scan(); !status) return status.error();
  if (folder->options_.capacity_bytes > 0) {
    if (Status status = folder->Reserve(0); !status) return status.error();
  }
  return folder;
}

Status Folder::Prepare() {
  const Status made = options_.durable ? MakeDurableFolder(files_, options_.path)
                                       : files_.MakeFolder(options_.path);
  if (!made) return made;
  if (Status status = CheckFolder(files_, options_.path); !status) return status;
  const std::string quarantine = options_.path + "/" + kQuarantineName;
  if (Status status = files_.MakeFolder(quarantine); !status) return status;
  // Whoever opens holds this lock, so that no owner file is seen between creation and locking.
  const auto opening = files_.Lock(options_.path + "/" + kLockName, true);
  if (!opening) return opening.error();
  if (Status status = RemoveLeftovers(); !status) return status;
  auto owner_lock = files_.Lock(OwnerPath(options_.path, owner_), true);
  if (!owner_lock) return owner_lock.error();
  owner_lock_ = *std::move(owner_lock);
  direct_ = options_.direct && ProbeDirect();
  return {};
}

// An owner lives while its lock is held: the kernel drops it whatever way a process ends. A look
// at the process id would be wrong in containers that share a folder, over NFS, and when ids wrap.
Status Folder::RemoveLeftovers() {
  const auto names = files_.List(options_.path);
  if (!names) return names.error();
  std::unordered_set<std::string> living;
  std::vector<std::string> dead;
  for (const std::string& name : *names) {
    const std::optional<std::string> owner = OwnerOfOwnerName(name);
    if (!owner) continue;
    const auto lock = files_.Lock(OwnerPath(options_.path, *owner), false);
    if (!lock) return lock.error();
    if (*lock == nullptr) {
      living.insert(*owner);
    } else {
      dead.push_back(*owner);
    }
  }
  if (Status status = RemoveTemporariesOf(living); !status) return status;
  std::vector<std::string> left;
  for (const std::string& owner : dead) left.push_back(OwnerPath(options_.path, owner));
  // A loss of power may take the owner file and leave its probe.
  for (const std::string& name : *names) {
    const std::optional<std::string> owner = OwnerOfProbeName(name);
    if (owner && !living.contains(*owner)) left.push_back(ProbePath(options_.path, *owner));
  }
  for (const std::string& path : left) {
    const Status removed = files_.Remove(path);
    if (!removed && !IsNotFound(removed)) return removed;
  }
  return {};
}

Status Folder::RemoveTemporariesOf(const std::unordered_set<std::string>& living) {
  const auto fans = files_.List(options_.path);
  if (!fans) return fans.error();
  for (const std::string& fan : *fans) {
    if (!IsFanOutName(fan)) continue;
    const std::string folder = options_.path + "/" + fan;
    const auto names = files_.List(folder);
    if (!names) return names.error();
    for (const std::string& name : *names) {
      const std::optional<std::string> owner = OwnerOfTemporary(name);
      if (!owner || living.contains(*owner)) continue;
      const Status removed = files_.Remove(folder + "/" + name);
      if (!removed && !IsNotFound(removed)) return removed;
    }
  }
  return {};
}

bool Folder::ProbeDirect() {
  const std::string path = ProbePath(options_.path, owner_);
  AlignedBytes page(kIoAlignment);
  bool works = false;
  if (auto file = files_.Open(path, {.mode = OpenMode::kCreate, .direct = true})) {
    works = WriteFully(**file, path, 0, page.span()).ok() &&
            ReadFully(**file, path, 0, page.span()).ok();
  }
  (void)files_.Remove(path);
  return works;
}

Status Folder::Scan() {
  const auto fans = files_.List(options_.path);
  if (!fans) return fans.error();
  std::vector<std::pair<BlockId, BlockIndex::Entry>> found;
  for (const std::string& fan : *fans) {
    if (!IsFanOutName(fan)) continue;
    const std::string folder = options_.path + "/" + fan;
    const auto names = files_.List(folder);
    if (!names) return names.error();
    for (const std::string& name : *names) {
      const std::optional<BlockId> id = ParseBlockName(name);
      if (!id) continue;
      const Result<PathInfo> info = files_.Stat(folder + "/" + name);
      if (!info && info.error().code == ErrorCode::kNotFound) continue;
      if (!info) return info.error();
      found.push_back({*id, {info->bytes, info->modified_us}});
    }
  }
  std::lock_guard lock(mutex_);
  for (const auto& [id, entry] : found) {
    const BlockIndex::Entry* known = index_.Find(id);
    if (known == nullptr || known->stamp_us < entry.stamp_us) index_.Put(id, entry);
  }
  return {};
}

}  // namespace esa
