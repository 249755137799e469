// Small files that stores of one folder share: a payload with its size and checksum before it,
// written in place. A writer that died in between leaves nothing whole, which a reader is told.
//
// Bytes: u64 payload bytes, u64 XXH3 of the payload, payload; what lies behind is of older ones.
// Threading: none of its own. Files that several change are changed under their lock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "store/posix/file_system.h"

namespace esa {

inline constexpr std::size_t kMaxCheckedBytes = 64u << 20;

// kDataError: nothing whole is there.
Result<std::vector<std::byte>> ReadChecked(File& file, const std::string& path);
Status WriteChecked(File& file, const std::string& path, std::span<const std::byte> payload);

// Four numbers in a file whose lock is held for as long as this lives.
class LockedNumbers {
 public:
  // Waits for the lock: it is held for a few calls of the file system, or for a scan.
  // kDeadlineExceeded: its holder was stopped, or hangs.
  static Result<LockedNumbers> Lock(FileSystem& files, const std::string& path);

  bool whole() const { return whole_; }  // false: a new file, or not written to the end
  void Renew() { whole_ = true; }        // the values have been found out anew
  Status Write();

  std::array<std::uint64_t, 4> values{};  // zeros, if not whole

 private:
  LockedNumbers(std::unique_ptr<File> file, std::string path);

  std::unique_ptr<File> file_;
  std::string path_;
  bool whole_ = false;
};

}  // namespace esa
