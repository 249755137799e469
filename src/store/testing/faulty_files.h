// A file system for tests: the real one, or another, with faults on demand.
//
// The test keeps the Faults, the store owns the FaultyFiles. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "store/posix/file_system.h"

namespace esa::testing {

enum class FileCall {
  kRead,
  kWrite,
  kOpen,
  kAllocate,
  kRename,
  kRemove,
  kMakeFolder,
  kLock,
  kSync,  // of files and folders
  kStat,
  kSetModified,
  kList,
  kSize
};

inline constexpr FileCall kFileCalls[] = {
    FileCall::kRead,   FileCall::kWrite,  FileCall::kOpen,        FileCall::kAllocate,
    FileCall::kRename, FileCall::kRemove, FileCall::kMakeFolder,  FileCall::kLock,
    FileCall::kSync,   FileCall::kStat,   FileCall::kSetModified, FileCall::kList,
    FileCall::kSize};

// What goes wrong from now on. Shared by the test and the FaultyFiles it made.
class Faults {
 public:
  // The calls of this kind, counted from 1 at this call of FailOn, that fail with the error;
  // `last` 0: all from `first` on.
  void FailOn(FileCall call, std::uint64_t first, std::uint64_t last, Error error);
  void DiskFullAfter(std::uint64_t bytes);           // of Write, summed over all files
  void Delay(std::chrono::milliseconds each);        // of every Read and Write
  void ShortTransfers(std::size_t max_bytes);        // no Read or Write moves more
  void FlipBit(std::uint64_t read, std::size_t at);  // in the bytes of the n-th Read from now
  void Clear();

  bool struck() const;  // has a call failed by FailOn since the last Clear?

 private:
  friend class FaultyFile;
  friend class FaultyFiles;

  // Counts the call; its error, if it is to fail.
  Status Enter(FileCall call);
  std::size_t Limit(std::size_t bytes) const;
  Result<std::size_t> AdmitWrite(std::size_t bytes);
  void Corrupt(std::span<std::byte> bytes);

  struct Rule {
    FileCall call = FileCall::kRead;
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::uint64_t seen = 0;
    Error error;
  };

  mutable std::mutex mutex_;  // guards all below
  std::vector<Rule> rules_;
  bool struck_ = false;
  bool disk_bound_ = false;
  std::uint64_t disk_left_ = 0;
  std::chrono::milliseconds delay_{0};
  std::size_t max_transfer_ = 0;
  std::uint64_t flip_in_ = 0;  // reads until the one that is corrupted; 0: none
  std::size_t flip_at_ = 0;
};

std::unique_ptr<FileSystem> MakeFaultyFiles(
    std::shared_ptr<Faults> faults, std::unique_ptr<FileSystem> real = MakeRealFileSystem());

}  // namespace esa::testing
