#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "store/posix/aligned_bytes.h"
#include "store/posix/file_system.h"

namespace esa {
namespace {

template <class Call>
auto Retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

bool IsAligned(std::uint64_t offset, const void* data, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % kIoAlignment == 0 && offset % kIoAlignment == 0 &&
         bytes % kIoAlignment == 0;
}

class RealFile final : public File {
 public:
  RealFile(std::string path, int descriptor, bool direct)
      : path_(std::move(path)), descriptor_(descriptor), direct_(direct) {}
  ~RealFile() override { close(descriptor_); }
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;

  // Buffers that O_DIRECT refuses go through a copy: to mix in buffered calls on the same file
  // would leave it to the kernel which of the two a later read sees.
  Result<std::size_t> Read(std::uint64_t offset, std::span<std::byte> to) override {
    if (direct_ && !IsAligned(offset, to.data(), to.size())) return ReadCopied(offset, to);
    const ssize_t moved =
        Retry([&] { return pread(descriptor_, to.data(), to.size(), static_cast<off_t>(offset)); });
    if (moved < 0) return SystemError(path_, "read", errno);
    return static_cast<std::size_t>(moved);
  }

  Result<std::size_t> Write(std::uint64_t offset, std::span<const std::byte> from) override {
    if (direct_ && !IsAligned(offset, from.data(), from.size())) {
      if (offset % kIoAlignment != 0 || from.size() % kIoAlignment != 0) {
        return IoError(path_ + ": write: O_DIRECT takes multiples of 4096 bytes only");
      }
      AlignedBytes copy(from.size());
      std::memcpy(copy.data(), from.data(), from.size());
      return Write(offset, copy.span());
    }
    const ssize_t moved = Retry(
        [&] { return pwrite(descriptor_, from.data(), from.size(), static_cast<off_t>(offset)); });
    if (moved < 0) return SystemError(path_, "write", errno);
    return static_cast<std::size_t>(moved);
  }

  Result<std::size_t> ReadPieces(std::uint64_t offset, std::span<const iovec> pieces) override {
    if (!Fits(offset, pieces)) return File::ReadPieces(offset, pieces);
    const ssize_t moved = Retry([&] {
      return preadv(descriptor_, pieces.data(), static_cast<int>(pieces.size()),
                    static_cast<off_t>(offset));
    });
    if (moved < 0) return SystemError(path_, "read", errno);
    return static_cast<std::size_t>(moved);
  }

  Result<std::size_t> WritePieces(std::uint64_t offset, std::span<const iovec> pieces) override {
    if (!Fits(offset, pieces)) return File::WritePieces(offset, pieces);
    const ssize_t moved = Retry([&] {
      return pwritev(descriptor_, pieces.data(), static_cast<int>(pieces.size()),
                     static_cast<off_t>(offset));
    });
    if (moved < 0) return SystemError(path_, "write", errno);
    return static_cast<std::size_t>(moved);
  }

  bool ReadCached(std::uint64_t offset, std::span<const iovec> pieces) override {
    if (direct_ || !Fits(offset, pieces)) return false;
    const ssize_t moved = Retry([&] {
      return preadv2(descriptor_, pieces.data(), static_cast<int>(pieces.size()),
                     static_cast<off_t>(offset), RWF_NOWAIT);
    });
    return moved >= 0 && static_cast<std::uint64_t>(moved) == BytesOf(pieces);
  }

  // Buffered writes are copies to the page cache, for which io_uring would start threads.
  std::optional<Target> TargetFor(std::uint64_t offset, std::span<const iovec> pieces,
                                  bool write) const override {
    if (!Fits(offset, pieces) || (write && !direct_)) return std::nullopt;
    return Target{descriptor_, offset};
  }

  Status Allocate(std::uint64_t bytes) override {
    const off_t length = static_cast<off_t>(bytes);
    if (Retry([&] { return fallocate(descriptor_, 0, 0, length); }) == 0) return {};
    if (errno != EOPNOTSUPP) return SystemError(path_, "allocate", errno);
    if (Retry([&] { return ftruncate(descriptor_, length); }) == 0) return {};
    return SystemError(path_, "set size", errno);
  }

  Status Sync() override {
    if (Retry([&] { return fdatasync(descriptor_); }) == 0) return {};
    return SystemError(path_, "sync", errno);
  }

  Result<std::uint64_t> Size() override {
    struct stat info {};
    if (fstat(descriptor_, &info) != 0) return SystemError(path_, "stat", errno);
    return static_cast<std::uint64_t>(info.st_size);
  }

  void WillNeed(std::uint64_t offset, std::uint64_t bytes) override {
    posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                  POSIX_FADV_WILLNEED);
  }

  Result<bool> TryLock() override {
    if (Retry([&] { return flock(descriptor_, LOCK_EX | LOCK_NB); }) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    return SystemError(path_, "lock", errno);
  }

  void Unlock() override { flock(descriptor_, LOCK_UN); }

 private:
  // One call can move them all, without a copy.
  bool Fits(std::uint64_t offset, std::span<const iovec> pieces) const {
    return pieces.size() <= IOV_MAX &&
           (!direct_ || std::ranges::all_of(pieces, [&](const iovec& piece) {
             return IsAligned(offset, piece.iov_base, piece.iov_len);
           }));
  }

  Result<std::size_t> ReadCopied(std::uint64_t offset, std::span<std::byte> to) {
    const std::uint64_t skipped = offset % kIoAlignment;
    AlignedBytes copy(skipped + to.size());
    const auto moved = Read(offset - skipped, copy.span());
    if (!moved) return moved;
    if (*moved <= skipped) return std::size_t{0};
    const std::size_t bytes = std::min<std::size_t>(*moved - skipped, to.size());
    std::memcpy(to.data(), copy.data() + skipped, bytes);
    return bytes;
  }

  const std::string path_;
  const int descriptor_;
  const bool direct_;
};

// An open folder.
class Listing {
 public:
  explicit Listing(const std::string& path) : path_(path), folder_(opendir(path.c_str())) {}
  ~Listing() {
    if (folder_ != nullptr) closedir(folder_);
  }
  Listing(const Listing&) = delete;
  Listing& operator=(const Listing&) = delete;

  int descriptor() const { return dirfd(folder_); }

  Result<std::vector<std::pair<ino_t, std::string>>> Read() const {
    if (folder_ == nullptr) return SystemError(path_, "list", errno);
    std::vector<std::pair<ino_t, std::string>> entries;
    errno = 0;
    while (const dirent* entry = readdir(folder_)) {
      std::string name = entry->d_name;
      if (name != "." && name != "..") entries.emplace_back(entry->d_ino, std::move(name));
      errno = 0;
    }
    if (errno != 0) return SystemError(path_, "list", errno);
    return entries;
  }

 private:
  const std::string& path_;
  DIR* const folder_;
};

// Attributes at hand will do: a network file system then need not ask for each file.
constexpr int kListFlags = AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC;
constexpr unsigned kListFields = STATX_TYPE | STATX_SIZE | STATX_MTIME;

// statfs(2): NFS, SMB, SMB2, CIFS, 9P, Ceph, Lustre, GPFS, AFS.
constexpr std::uint32_t kNetworkTypes[] = {0x6969,     0x517b,     0xfe534d42,
                                           0xff534d42, 0x01021997, 0x00c36400,
                                           0x0bd00bd0, 0x47504653, 0x5346414f};

class RealFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) override {
    int flags = O_CLOEXEC;
    flags |= options.mode == OpenMode::kRead ? O_RDONLY : O_RDWR;
    if (options.mode == OpenMode::kCreate) flags |= O_CREAT | O_EXCL;
    if (options.direct) flags |= O_DIRECT;
    const int descriptor = Retry([&] { return open(path.c_str(), flags, 0600); });
    if (descriptor < 0) return SystemError(path, "open", errno);
    return std::unique_ptr<File>(new RealFile(path, descriptor, options.direct));
  }

  Result<std::unique_ptr<File>> Lock(const std::string& path, bool wait) override {
    const int descriptor =
        Retry([&] { return open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600); });
    if (descriptor < 0) return SystemError(path, "open", errno);
    std::unique_ptr<File> file(new RealFile(path, descriptor, false));
    if (Retry([&] { return flock(descriptor, LOCK_EX | (wait ? 0 : LOCK_NB)); }) == 0) return file;
    if (errno == EWOULDBLOCK) return std::unique_ptr<File>();
    return SystemError(path, "lock", errno);
  }

  Result<PathInfo> Stat(const std::string& path) override {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) return SystemError(path, "stat", errno);
    return PathInfo{
        .folder = S_ISDIR(info.st_mode),
        .mode = info.st_mode & 07777u,
        .owner = info.st_uid,
        .bytes = static_cast<std::uint64_t>(info.st_size),
        .modified_us = info.st_mtim.tv_sec * std::int64_t{1000000} + info.st_mtim.tv_nsec / 1000};
  }

  Status SetModified(const std::string& path, std::int64_t modified_us) override {
    const timespec modified{.tv_sec = static_cast<time_t>(modified_us / 1000000),
                            .tv_nsec = static_cast<long>(modified_us % 1000000 * 1000)};
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, modified};
    if (utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) {
      return SystemError(path, "set time", errno);
    }
    return {};
  }

  Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) == 0) return {};
    return SystemError(from, ("rename to " + to).c_str(), errno);
  }

  Status Remove(const std::string& path) override {
    if (unlink(path.c_str()) == 0) return {};
    return SystemError(path, "remove", errno);
  }

  Status MakeFolder(const std::string& path) override {
    if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
    const std::size_t parent = path.find_last_of('/');
    if (errno != ENOENT || parent == std::string::npos || parent == 0) {
      return SystemError(path, "create folder", errno);
    }
    if (Status status = MakeFolder(path.substr(0, parent)); !status) return status;
    if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
    return SystemError(path, "create folder", errno);
  }

  Status SyncFolder(const std::string& path) override {
    const int descriptor =
        Retry([&] { return open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (descriptor < 0) return SystemError(path, "open", errno);
    const bool synced = Retry([&] { return fsync(descriptor); }) == 0;
    const int failed = errno;
    close(descriptor);
    return synced ? Status() : SystemError(path, "sync", failed);
  }

  Result<std::vector<std::string>> List(const std::string& path) override {
    const Listing folder(path);
    auto entries = folder.Read();
    if (!entries) return entries.error();
    std::vector<std::string> names;
    for (auto& [inode, name] : *entries) names.push_back(std::move(name));
    return names;
  }

  Result<std::vector<ListedFile>> ListFiles(const std::string& path) override {
    const Listing folder(path);
    auto entries = folder.Read();
    if (!entries) return entries.error();
    // As the inodes lie on disk: ext4 lists by a hash of the names.
    std::ranges::sort(*entries);
    std::vector<ListedFile> files;
    files.reserve(entries->size());
    for (auto& [inode, name] : *entries) {
      struct statx info {};
      const int found = statx(folder.descriptor(), name.c_str(), kListFlags, kListFields, &info);
      if (found != 0 && errno == ENOENT) continue;
      if (found != 0) return SystemError(path + "/" + name, "stat", errno);
      if (!S_ISREG(info.stx_mode)) continue;
      files.push_back({.name = std::move(name),
                       .bytes = info.stx_size,
                       .modified_us = info.stx_mtime.tv_sec * std::int64_t{1000000} +
                                      info.stx_mtime.tv_nsec / 1000});
    }
    return files;
  }

  bool OnNetwork(const std::string& path) override {
    struct statfs info {};
    if (statfs(path.c_str(), &info) != 0) return false;
    return std::ranges::find(kNetworkTypes, static_cast<std::uint32_t>(info.f_type)) !=
           std::end(kNetworkTypes);
  }
};

}  // namespace

std::unique_ptr<FileSystem> MakeRealFileSystem() { return std::make_unique<RealFileSystem>(); }

}  // namespace esa
