// Reads parts of committed blocks and verifies them; keeps open files and parsed heads at hand.
//
// Threading: all methods from any thread.
#pragma once

#include <cstdint>
#include <memory>

#include "esa/block_store.h"
#include "store/block_id_hash.h"
#include "store/lru_cache.h"
#include "store/posix/block_format.h"
#include "store/posix/file_system.h"
#include "store/posix/folder.h"

namespace esa {

class BlockReader {
 public:
  BlockReader(FileSystem& files, const BlockLayout& layout);

  // Errors of both: kNotFound, kDataError (corrupt, cut short, foreign), those of the system.
  // destination: as in SliceRead.
  Result<std::shared_ptr<const BlockHead>> Head(const Folder& folder, const BlockId& id);
  Status Read(const Folder& folder, const BlockId& id, std::uint32_t part, std::byte* destination);

  std::uint64_t PartBytes(std::uint32_t part) const;

  // Reads the head, and asks for the rest to be brought into the page cache; not where reads go
  // past it (O_DIRECT).
  Status Prefetch(const Folder& folder, const BlockId& id);

  // Closes and forgets: the file was replaced or removed, or is not to be trusted.
  void Drop(const BlockId& id);

 private:
  Result<std::shared_ptr<File>> Open(const Folder& folder, const BlockId& id);
  Result<BlockHead> ReadHead(const Folder& folder, const BlockId& id);

  FileSystem& files_;
  const BlockLayout layout_;
  const BlockAreas areas_;
  LruCache<BlockId, File, BlockIdHash> open_files_;
  LruCache<BlockId, const BlockHead, BlockIdHash> heads_;
};

}  // namespace esa
