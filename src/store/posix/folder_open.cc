// Taking a folder into use: its ownership, what dead stores left, and the scan.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "store/posix/aligned_bytes.h"
#include "store/posix/file_names.h"
#include "store/posix/folder.h"
#include "store/posix/ledger_fields.h"

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

// Listing waits for the disk or the server, one folder after the other: 100,000 blocks whose inodes
// were not in memory took 5.6 s with one thread.
constexpr std::size_t kScanThreads = 8;
constexpr std::size_t kFansOfAThread = 16;

// A difference of clocks that counts: the system stamps files by a clock that ticks every few
// milliseconds, and an answer over a network takes its time.
constexpr std::int64_t kClocksAgreeUs = 1000000;

Status CheckFolder(FileSystem& files, const std::string& path, bool allow_shared) {
  const Result<PathInfo> info = files.Stat(path);
  if (!info) return info.error();
  if (!info->folder) return InvalidArgument(path + ": expected a folder, found a file");
  if (allow_shared) return {};
  if ((info->mode & kWritableByOthers) != 0) {
    return InvalidArgument(path + ": mode " + Octal(info->mode) +
                           " lets others write, who could forge blocks; mend it with: chmod 700 " +
                           path + ", or set allow_shared_folder");
  }
  if (info->owner != geteuid() && info->owner != 0) {
    return InvalidArgument(path + ": belongs to user " + std::to_string(info->owner) +
                           ", who could forge blocks; expected user " + std::to_string(geteuid()) +
                           " or root, or allow_shared_folder");
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

}  // namespace

Folder::Folder(FileSystem& files, Options options)
    : files_(files), options_(std::move(options)), owner_(MakeOwner()) {}

// The block writer has removed this store's temporaries by now; then the owner file may go.
Folder::~Folder() {
  if (owner_lock_ == nullptr) return;
  WriteMarks();
  WithdrawPins();
  (void)files_.Remove(OwnerPath(options_.path, owner_));
}

Result<std::unique_ptr<Folder>> Folder::Open(FileSystem& files, Options options) {
  std::unique_ptr<Folder> folder(new Folder(files, std::move(options)));
  if (Status status = folder->Prepare(); !status) return status.error();
  return folder;
}

Status Folder::Prepare() {
  const std::string& path = options_.path;
  const Status made = options_.durable ? MakeDurableFolder(files_, path) : files_.MakeFolder(path);
  if (!made) return made;
  if (Status status = CheckFolder(files_, path, options_.allow_shared); !status) return status;
  if (Status status = files_.MakeFolder(path + "/" + kQuarantineName); !status) return status;
  // Whoever opens holds this lock, so that no owner file is seen between creation and locking.
  const auto opening = files_.Lock(path + "/" + kLockName, true);
  if (!opening) return opening.error();
  const auto living = LivingOwners();
  if (!living) return living.error();
  auto owner_lock = files_.Lock(OwnerPath(path, owner_), true);
  if (!owner_lock) return owner_lock.error();
  owner_lock_ = *std::move(owner_lock);
  MeasureClock();
  direct_ = options_.direct && ProbeDirect();
  admission_ = std::make_unique<AdmissionPolicy>(
      files_, AdmissionPolicy::Options{.path = path,
                                       .second_touch = options_.second_touch,
                                       .write_bytes_per_day = options_.write_bytes_per_day});
  return FirstScan(*living);
}

// The owner file was just made, so its time is the file system's now: over a network the server's.
void Folder::MeasureClock() {
  using std::chrono::microseconds;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const Result<PathInfo> info = files_.Stat(OwnerPath(options_.path, owner_));
  if (!info) return;
  const std::int64_t ahead =
      info->modified_us - std::chrono::duration_cast<microseconds>(now).count();
  clock_ahead_us_ = std::abs(ahead) > kClocksAgreeUs ? ahead : 0;
}

// An owner lives while its lock is held: the kernel drops it whatever way a process ends. A look
// at the process id would be wrong in containers that share a folder, over NFS, and when ids wrap.
Result<Folder::Owners> Folder::LivingOwners() {
  const auto names = files_.List(options_.path);
  if (!names) return names.error();
  Owners living;
  for (const std::string& name : *names) {
    const std::optional<std::string> owner = OwnerOfOwnerName(name);
    if (!owner) continue;
    const auto lock = files_.Lock(OwnerPath(options_.path, *owner), false);
    if (!lock) return lock.error();
    if (*lock == nullptr) {
      living.insert(*owner);
      continue;
    }
    for (const std::string& path :
         {PinsPath(options_.path, *owner), OwnerPath(options_.path, *owner)}) {
      const Status removed = files_.Remove(path);
      if (!removed && !IsNotFound(removed)) return removed.error();
    }
  }
  // A loss of power may take the owner file and leave its probe.
  for (const std::string& name : *names) {
    const std::optional<std::string> owner = OwnerOfProbeName(name);
    if (!owner || living.contains(*owner)) continue;
    const Status removed = files_.Remove(ProbePath(options_.path, *owner));
    if (!removed && !IsNotFound(removed)) return removed.error();
  }
  return living;
}

Status Folder::FirstScan(const Owners& living) {
  if (options_.capacity_bytes == 0) return Scan(nullptr, &living);
  return WithLedger([&](LockedNumbers* ledger) -> Status {
    if (Status status = Scan(ledger, &living); !status) return status;
    if (living.empty()) ledger->values[kReservedBytes] = 0;
    const Status room = MakeRoom(ledger, 0);
    // What other stores have pinned may be more than the capacity: then nothing can be dumped.
    return !room && room.error().code == ErrorCode::kResourceExhausted ? Status() : room;
  });
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

Status Folder::Scan(LockedNumbers* ledger, const Owners* living) {
  const auto names = files_.List(options_.path);
  if (!names) return names.error();
  std::vector<std::string> fans;
  std::ranges::copy_if(*names, std::back_inserter(fans), IsFanOutName);
  std::atomic<std::size_t> next{0};
  std::vector<Found> parts(std::clamp(fans.size() / kFansOfAThread, std::size_t{1}, kScanThreads));
  const auto scan = [&](Found* part) {
    for (std::size_t i = next++; i < fans.size() && part->status.ok(); i = next++) {
      part->status = ScanFanOut(fans[i], living, part);
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < parts.size(); ++i) threads.emplace_back(scan, &parts[i]);
    scan(&parts[0]);
  }
  Found found;
  for (Found& part : parts) {
    if (!part.status) return part.status;
    found.Add(std::move(part));
  }
  if (ledger != nullptr) {
    std::uint64_t& reserved = ledger->values[kReservedBytes];
    reserved = ledger->whole() ? reserved - std::min(reserved, found.leftover_bytes)
                               : found.temporary_bytes;
    ledger->values[kStoredBytes] = found.bytes;
    ledger->Renew();
    known_reserved_ = ledger->values[kReservedEver];
    vanished_bytes_ = 0;
  }
  std::lock_guard lock(mutex_);
  for (const auto& [id, entry] : found.blocks) {
    const BlockIndex::Entry* known = index_.Find(id);
    if (known == nullptr || known->stamp_us < entry.stamp_us) index_.Put(id, entry);
  }
  return {};
}

void Folder::Found::Add(Found part) {
  blocks.insert(blocks.end(), part.blocks.begin(), part.blocks.end());
  bytes += part.bytes;
  temporary_bytes += part.temporary_bytes;
  leftover_bytes += part.leftover_bytes;
}

Status Folder::ScanFanOut(const std::string& fan, const Owners* living, Found* found) {
  const std::string folder = options_.path + "/" + fan;
  const auto files = files_.ListFiles(folder);
  if (!files) return files.error();
  for (const ListedFile& file : *files) {
    if (const std::optional<BlockId> id = ParseBlockName(file.name)) {
      found->blocks.push_back({*id, {file.bytes, file.modified_us - clock_ahead_us_}});
      found->bytes += file.bytes;
      continue;
    }
    const std::optional<std::string> owner = OwnerOfTemporary(file.name);
    if (!owner) continue;
    if (living == nullptr || living->contains(*owner)) {
      found->temporary_bytes += file.bytes;
      continue;
    }
    const Status removed = files_.Remove(folder + "/" + file.name);
    if (!removed && !IsNotFound(removed)) return removed;
    found->leftover_bytes += file.bytes;
    std::lock_guard lock(mutex_);
    ++removed_leftovers_;
  }
  return {};
}

}  // namespace esa
