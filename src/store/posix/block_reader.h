// Reads parts of committed blocks and verifies them; keeps open files and parsed heads at hand.
//
// Threading: all methods from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "esa/block_store.h"
#include "store/block_id_hash.h"
#include "store/lru_cache.h"
#include "store/posix/aligned_bytes.h"
#include "store/posix/block_format.h"
#include "store/posix/file_system.h"
#include "store/posix/folder.h"
#include "store/posix/io_queue.h"

namespace esa {

struct OpenFile {
  std::shared_ptr<File> file;
  std::string path;
};

// Parts of one block that follow each other in its file, on their way from there: slices, or one
// of the others.
struct PartRun {
  BlockId id = {};
  std::uint32_t first = 0;
  std::vector<std::byte*> destinations = {};  // by part

  // The reader's.
  std::shared_ptr<const OpenFile> open = {};
  std::shared_ptr<const BlockHead> head = {};
  std::optional<AlignedBytes> copy =
      {};  // of representations, whose destination O_DIRECT may refuse
};

class BlockReader {
 public:
  // cipher: of encrypted blocks, null for plain ones; must outlive the reader. verify_checksums: of
  // slices and representations; heads are always verified.
  BlockReader(FileSystem& files, const BlockLayout& layout, const BlockCipher* cipher,
              bool verify_checksums);

  // Errors of both: kNotFound, kDataError (corrupt, cut short), kUnsupported (foreign), those of
  // the system. destination: as in SliceRead.
  Result<std::shared_ptr<const BlockHead>> Head(const Folder& folder, const BlockId& id);
  std::shared_ptr<const BlockHead> HeadAtHand(const BlockId& id);  // null: it must be read
  Status Read(const Folder& folder, const BlockId& id, std::uint32_t part, std::byte* destination);

  // The same in two steps, for requests that are under way together. Prepare reads the head if it
  // is not at hand. A part without a request (token ids) is there at once.
  Status Prepare(const Folder& folder, PartRun* run, IoRequest* request);
  // Prepare where that makes no call. False, and no request: head or file are not at hand, or these
  // are no slices.
  bool PrepareCached(PartRun* run, IoRequest* request);
  Status Verify(const PartRun& run, std::size_t index) const;  // of a request that succeeded

  std::uint64_t PartBytes(std::uint32_t part) const;

  // Reads the head, and asks for the rest to be brought into the page cache; not where reads go
  // past it (O_DIRECT).
  Status Prefetch(const Folder& folder, const BlockId& id);

  // Closes and forgets: the file was replaced or removed, or is not to be trusted.
  void Drop(const BlockId& id);

 private:
  Result<std::shared_ptr<const OpenFile>> Open(const Folder& folder, const BlockId& id);
  Result<BlockHead> ReadHead(const Folder& folder, const BlockId& id);
  void FillRequest(PartRun* run, IoRequest* request) const;

  FileSystem& files_;
  const BlockLayout layout_;
  const BlockCipher* const cipher_;
  const bool verify_;
  const BlockAreas areas_;
  LruCache<BlockId, const OpenFile, BlockIdHash> open_;
  LruCache<BlockId, const BlockHead, BlockIdHash> heads_;
};

}  // namespace esa
