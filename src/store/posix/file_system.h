// The operating system as the posix store uses it: the seam where tests inject faults.
//
// Errors name path, operation and reason. Codes: kNotFound (gone), kResourceExhausted (disk full,
// quota, too many open files), kIoError (all else).
// Threading: all methods of both may be called from any thread.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "esa/result.h"

namespace esa {

std::uint64_t BytesOf(std::span<const iovec> pieces);

// An open file; closed when destroyed.
class File {
 public:
  virtual ~File() = default;

  // As pread and pwrite: may move fewer bytes than asked for. 0 from Read is the end of the file.
  virtual Result<std::size_t> Read(std::uint64_t offset, std::span<std::byte> to) = 0;
  virtual Result<std::size_t> Write(std::uint64_t offset, std::span<const std::byte> from) = 0;

  // As preadv and pwritev, for pieces that follow each other in the file. These call Read or Write
  // for each piece; a file that can do better does.
  virtual Result<std::size_t> ReadPieces(std::uint64_t offset, std::span<const iovec> pieces);
  virtual Result<std::size_t> WritePieces(std::uint64_t offset, std::span<const iovec> pieces);

  // All of these pieces, if they can be had without waiting for a disk: from the page cache. False:
  // they cannot, and what the pieces hold is not known.
  virtual bool ReadCached(std::uint64_t offset, std::span<const iovec> pieces) {
    (void)offset, (void)pieces;
    return false;
  }

  // What io_uring needs to move these pieces without the calls above; nullopt: call them.
  struct Target {
    int descriptor = -1;
    std::uint64_t offset = 0;
  };
  virtual std::optional<Target> TargetFor(std::uint64_t offset, std::span<const iovec> pieces,
                                          bool write) const {
    (void)offset, (void)pieces, (void)write;
    return std::nullopt;
  }

  // Whether what was just read by a Target is this file's: of a file that shares another, its place
  // may have been given away meanwhile. kNotFound: it was.
  virtual Status StillThere() const { return {}; }

  // Makes the file this long and takes its room on disk where the filesystem can: a full disk shows
  // here, what is written later is contiguous, and no write has to lengthen the file.
  virtual Status Allocate(std::uint64_t bytes) = 0;

  // Returns when what was written, and what is needed to read it again, survives a loss of power.
  virtual Status Sync() = 0;

  virtual Result<std::uint64_t> Size() = 0;

  // Asks for these bytes to be brought into the page cache.
  virtual void WillNeed(std::uint64_t offset, std::uint64_t bytes) = 0;

  // The exclusive lock of FileSystem::Lock, taken and given back many times on one open file.
  // False: another has it.
  virtual Result<bool> TryLock() = 0;
  virtual void Unlock() = 0;
};

enum class OpenMode { kRead, kWrite, kCreate };  // kCreate: 0600, and must not exist yet

struct OpenOptions {
  OpenMode mode = OpenMode::kRead;
  bool direct = false;      // O_DIRECT; fails where the filesystem cannot
  std::uint64_t bytes = 0;  // with kCreate: how long it will be; 0: not known
};

struct PathInfo {
  bool folder = false;
  std::uint32_t mode = 0;   // permission bits
  std::uint32_t owner = 0;  // user id
  std::uint64_t bytes = 0;
  std::int64_t modified_us = 0;  // since 1970
};

struct ListedFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::int64_t modified_us = 0;  // since 1970
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) = 0;

  // Creates the file if need be and takes its exclusive lock, which lasts as long as the File and
  // which the system drops when the process dies. Null: another has it, and `wait` is false.
  virtual Result<std::unique_ptr<File>> Lock(const std::string& path, bool wait) = 0;

  virtual Result<PathInfo> Stat(const std::string& path) = 0;
  virtual Status SetModified(const std::string& path, std::int64_t modified_us) = 0;
  virtual Status Rename(const std::string& from, const std::string& to) = 0;  // replaces `to`
  virtual Status Remove(const std::string& path) = 0;                         // a file
  virtual Status MakeFolder(const std::string& path) = 0;  // 0700, with parents; may exist
  virtual Status SyncFolder(const std::string& path) = 0;  // its names survive a loss of power
  virtual Result<std::vector<std::string>> List(const std::string& path) = 0;  // names

  // The files of a folder in any order, without those that vanish meanwhile. Over a network what
  // it says of them may be some seconds old.
  virtual Result<std::vector<ListedFile>> ListFiles(const std::string& path) = 0;

  // Is it on another machine, so that calls on it take their time and locks are messages?
  virtual bool OnNetwork(const std::string& path) = 0;
};

std::unique_ptr<FileSystem> MakeRealFileSystem();

// Tries until a lock is had. Who holds one does so for a few calls, or for a scan.
// kDeadlineExceeded: its holder was stopped, or hangs.
Status LockInTime(const std::string& path, const std::function<Result<bool>()>& try_lock);

inline bool IsNotFound(const Status& status) {
  return !status && status.error().code == ErrorCode::kNotFound;
}

// What errno says of a call that failed on a path.
Error SystemError(const std::string& path, const char* operation, int code);

// All of the span, in as many calls as it takes. kDataError: the file ends before.
Status ReadFully(File& file, const std::string& path, std::uint64_t offset,
                 std::span<std::byte> to);
Status WriteFully(File& file, const std::string& path, std::uint64_t offset,
                  std::span<const std::byte> from);

}  // namespace esa
