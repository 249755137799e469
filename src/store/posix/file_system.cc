#include "store/posix/file_system.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace esa {
namespace {

// Moves piece after piece until one moves less than all of itself.
template <class MoveOne>
Result<std::size_t> MovePieces(std::uint64_t offset, std::span<const iovec> pieces,
                               MoveOne move_one) {
  std::size_t total = 0;
  for (const iovec& piece : pieces) {
    const std::span<std::byte> bytes{static_cast<std::byte*>(piece.iov_base), piece.iov_len};
    const Result<std::size_t> moved = move_one(offset + total, bytes);
    if (!moved) return moved.error();
    total += *moved;
    if (*moved < bytes.size()) break;
  }
  return total;
}

// Who holds a lock does so for a few calls, or for a scan; one that was stopped, for ever.
constexpr std::chrono::seconds kLockPatience{10};
constexpr std::chrono::microseconds kFirstPause{50};
constexpr std::chrono::microseconds kLongestPause{5000};

}  // namespace

Status LockInTime(const std::string& path, const std::function<Result<bool>()>& try_lock) {
  const auto deadline = std::chrono::steady_clock::now() + kLockPatience;
  for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    const Result<bool> locked = try_lock();
    if (!locked) return locked.error();
    if (*locked) return {};
    if (std::chrono::steady_clock::now() >= deadline) {
      return DeadlineExceeded(path + ": another process has held its lock for " +
                              std::to_string(kLockPatience.count()) + " s");
    }
    std::this_thread::sleep_for(pause);
  }
}

std::uint64_t BytesOf(std::span<const iovec> pieces) {
  std::uint64_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

Result<std::size_t> File::ReadPieces(std::uint64_t offset, std::span<const iovec> pieces) {
  return MovePieces(offset, pieces,
                    [this](std::uint64_t at, std::span<std::byte> to) { return Read(at, to); });
}

Result<std::size_t> File::WritePieces(std::uint64_t offset, std::span<const iovec> pieces) {
  return MovePieces(offset, pieces, [this](std::uint64_t at, std::span<std::byte> from) {
    return Write(at, from);
  });
}

Error SystemError(const std::string& path, const char* operation, int code) {
  std::string message = path + ": " + operation + ": " + std::strerror(code);
  switch (code) {
    case ENOENT:
    case ESTALE:  // NFS: removed by another host
      return NotFound(std::move(message));
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return ResourceExhausted(std::move(message));
    default:
      return IoError(std::move(message));
  }
}

Status ReadFully(File& file, const std::string& path, std::uint64_t offset,
                 std::span<std::byte> to) {
  while (!to.empty()) {
    const Result<std::size_t> moved = file.Read(offset, to);
    if (!moved) return moved.error();
    if (*moved == 0) {
      return DataError(path + ": ends at byte " + std::to_string(offset) + ", expected " +
                       std::to_string(to.size()) + " bytes more");
    }
    offset += *moved;
    to = to.subspan(*moved);
  }
  return {};
}

Status WriteFully(File& file, const std::string& path, std::uint64_t offset,
                  std::span<const std::byte> from) {
  while (!from.empty()) {
    const Result<std::size_t> moved = file.Write(offset, from);
    if (!moved) return moved.error();
    if (*moved == 0) return IoError(path + ": write: no byte was taken");
    offset += *moved;
    from = from.subspan(*moved);
  }
  return {};
}

}  // namespace esa
