// Blocks being written: gathers their slices into temporary files and commits the full ones.
//
// A block holds its representations, checksums and tokens in memory until it is committed; its
// file is opened when it is needed and kept in a small cache, so that thousands of blocks may be
// open at once.
// Threading: all methods from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
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

// A block being written, shared by the writer's table and the jobs that write to it.
struct OpenBlock {
  Folder* folder = nullptr;
  std::int64_t stamp_us = 0;

  std::mutex mutex;  // guards all below; held while the file is created, renamed or removed
  BlockHead head;
  std::vector<std::byte> representations;  // [num_slices, representation_bytes]
  std::vector<bool> taken;                 // [num_slices]; of which a write was accepted
  std::uint32_t num_written = 0;
  std::uint32_t num_writing = 0;
  std::string temporary;         // empty: no file and no room reserved yet
  std::optional<Error> failure;  // nothing more is written
};

// Slices of one block that follow each other in its file, on their way there.
struct SliceRun {
  std::shared_ptr<OpenBlock> block;
  std::uint32_t first = 0;
  std::vector<const std::byte*> data;  // by slice, [slice_bytes] each

  // The writer's.
  std::vector<PartSeal> seals;
  std::optional<AlignedBytes> sealed;  // what `data` points into, of an encrypted block
  std::optional<AlignedBytes> front;   // what stands before the slices, if it goes along
};

class BlockWriter {
 public:
  // cipher: encrypts the blocks; null: they are plain. It must outlive the writer.
  BlockWriter(FileSystem& files, const BlockLayout& layout, const BlockCipher* cipher);
  ~BlockWriter();  // abandons what is open; no job may be under way

  // False: open already. `stamp_us` is the recency that the block will have.
  Result<bool> Begin(Folder& folder, const BlockKey& key, const BlockId& parent,
                     std::int64_t stamp_us);

  bool IsOpen(const BlockId& id) const;
  std::optional<std::int64_t> StampOf(const BlockId& id) const;

  // Accepts one slice and copies its representation. kNotFound: not open; kInvalidArgument: not a
  // slice that can be written, which fails the block; the failure of the block.
  Result<std::shared_ptr<OpenBlock>> Take(const SliceWrite& write);

  // Makes the request that writes accepted slices, creating the file if need be. A request must be
  // followed by Finish, whatever became of it; after an error there is none.
  Status Prepare(SliceRun* run, IoRequest* request);

  // Takes note of a run's end. With the last slice the block is committed if the run took along
  // what stands before the slices; else that is to be written by one more request for this run.
  enum class Outcome { kOpen, kWantsFront, kCommitted };
  Status Finish(SliceRun* run, const IoRequest& request, Outcome* outcome);
  Status PrepareFront(SliceRun* run, IoRequest* request);

  // No slice of the block will be written any more; its file goes with Discard, its name with
  // Abandon. MarkFailed does no I/O.
  void MarkFailed(OpenBlock& block, Error error);
  void Discard(OpenBlock& block);
  void Abandon(const BlockId& id);

 private:
  // These hold the block's mutex.
  Result<std::shared_ptr<File>> FileOf(OpenBlock& block, bool allocate = true);
  Status Create(OpenBlock& block, bool allocate);
  Status Commit(OpenBlock& block);
  Result<AlignedBytes> Front(OpenBlock& block) const;
  Status Seal(SliceRun* run) const;
  void FailLocked(OpenBlock& block, Error error);
  void DiscardIfIdle(OpenBlock& block);

  FileSystem& files_;
  const BlockLayout layout_;
  const BlockCipher* const cipher_;
  const BlockAreas areas_;
  LruCache<std::string, File> open_files_;  // by temporary path
  mutable std::mutex mutex_;                // taken after a block's, never before
  std::unordered_map<BlockId, std::shared_ptr<OpenBlock>, BlockIdHash> blocks_;  // by mutex_
};

}  // namespace esa
