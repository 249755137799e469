// Reads a whole block file and holds it to every checksum in it, without a store.
//
// The bytes are compared as they are stored: no key and no layout need to be known.
// Threading: one verifier a thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "esa/block_store.h"
#include "store/posix/aligned_bytes.h"
#include "store/posix/block_format.h"
#include "store/posix/file_system.h"

namespace esa {

enum class BlockState {
  kIntact,
  kCorrupt,     // would be quarantined by a store that reads it
  kForeign,     // of another version of the format: nothing can be said
  kUnreadable,  // the system refused, which on network storage may pass
  kGone,        // removed meanwhile
};

struct BlockVerdict {
  BlockState state = BlockState::kIntact;
  std::string what = {};         // one line, empty for kIntact and kGone
  std::uint64_t read_bytes = 0;  // of the file
};

class BlockVerifier {
 public:
  explicit BlockVerifier(FileSystem& files) : files_(files) {}

  // `path` holds block `id`. Reads past the page cache where the filesystem can: what is on the
  // disk counts, and running stores keep what they have cached. Looks twice before it condemns.
  BlockVerdict Verify(const std::string& path, const BlockId& id);

 private:
  // What is in memory of the file at hand.
  struct Window {
    std::uint64_t file_bytes = 0;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  using Bytes = std::span<const std::byte>;

  BlockVerdict VerifyOnce(const std::string& path, const BlockId& id, bool direct);
  Status CheckFile(File& file, const std::string& path, const BlockId& id);
  Status CheckSlices(File& file, const std::string& path, const BlockHead& head);
  Result<Bytes> Read(File& file, const std::string& path, std::uint64_t offset,
                     std::uint64_t bytes);  // valid until the next

  FileSystem& files_;
  std::unique_ptr<AlignedBytes> buffer_;  // grows to what is read at once
  Window window_;
  std::uint64_t read_bytes_ = 0;
};

}  // namespace esa
