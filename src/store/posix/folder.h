// One folder of the posix store: who owns it, what is committed in it, what it may hold.
//
// Capacity counts the sizes of block files and of the room reserved for blocks being written; the
// quarantine keeps at most kMaxQuarantined files beside that. Other stores may work on the same
// folder: their blocks are found when asked for, and counted by a scan after every sixteenth part
// of the capacity that this store has written, so that n stores overshoot it by n/16 at most.
// Threading: all methods from any thread. The mutex guards the index and the counts; it is not
// held during calls of the file system.
#pragma once

#include <atomic>
#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "esa/block_store.h"
#include "store/block_id_hash.h"
#include "store/block_index.h"
#include "store/posix/file_system.h"

namespace esa {

inline constexpr std::size_t kMaxQuarantined = 16;

class Folder {
 public:
  struct Options {
    std::string path;
    std::uint64_t capacity_bytes = 0;  // 0: not bounded
    bool direct = false;               // O_DIRECT, if a probe shows that the filesystem takes it
    bool durable = false;              // a commit survives a loss of power
    // Called, without the mutex, with every block that this folder evicts or replaces.
    std::function<void(const BlockId&)> on_gone;
  };

  // Creates what is missing, refuses a folder others may write to, removes what dead stores left
  // behind, scans, and evicts down to the capacity. `files` must outlive the folder.
  static Result<std::unique_ptr<Folder>> Open(FileSystem& files, Options options);
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return options_.path; }
  bool direct() const { return direct_; }
  bool durable() const { return options_.durable; }
  std::string PathOf(const BlockId& id) const;
  std::string NewTemporaryPath(const BlockId& id);

  // Makes room, by eviction if need be. kResourceExhausted: pinned and reserved bytes leave none.
  Status Reserve(std::uint64_t bytes);
  void Release(std::uint64_t bytes);

  // Makes the folder below which a block's files stand.
  Status MakeFanOut(const BlockId& id);

  // Gives a finished temporary file its final name; its bytes must have been reserved, and are a
  // committed block's from then on. On error they stay reserved, and the block is not stored.
  Status Commit(const std::string& temporary, const BlockId& id, BlockIndex::Entry entry);

  // Marks a use, on disk too. kNotFound: the file is gone, and forgotten here.
  Status Use(const BlockId& id, BlockIndex::Entry entry);

  bool Exists(const BlockId& id) const;  // on disk, whoever committed it
  std::optional<std::int64_t> StampOf(const BlockId& id) const;
  void Forget(const BlockId& id);         // its file has vanished
  bool Quarantine(const BlockId& id);     // false: gone already
  bool Refused(const BlockId& id) const;  // found corrupt, and could not be moved aside
  Status Remove(const BlockId& id);

  void Pin(const BlockId& id);
  void Unpin(const BlockId& id);

  // Adds blocks, bytes and evicted_blocks to `stats`.
  void AddTo(StoreStats* stats) const;

 private:
  Folder(FileSystem& files, Options options);

  Status Prepare();
  Status RemoveLeftovers();
  Status RemoveTemporariesOf(const std::unordered_set<std::string>& living);
  Status SyncNameOf(const BlockId& id);
  void TakeBack(const BlockId& id, BlockIndex::Entry entry);
  bool ProbeDirect();
  Status Scan();
  Status EvictOne(std::uint64_t wanted);
  Error NoRoom(std::uint64_t wanted) const;
  void TrimQuarantine();

  FileSystem& files_;
  const Options options_;
  const std::string owner_;
  std::unique_ptr<File> owner_lock_;
  bool direct_ = false;
  std::atomic<std::uint64_t> next_temporary_{0};

  mutable std::mutex mutex_;
  BlockIndex index_;                   // guarded by mutex_
  std::uint64_t reserved_bytes_ = 0;   // guarded by mutex_
  std::uint64_t leaving_bytes_ = 0;    // guarded by mutex_; chosen for eviction, not yet removed
  std::uint64_t unscanned_bytes_ = 0;  // guarded by mutex_; committed since the last scan
  std::uint64_t evicted_blocks_ = 0;   // guarded by mutex_
  std::unordered_set<BlockId, BlockIdHash> refused_;  // guarded by mutex_
  std::bitset<256> synced_fans_;  // guarded by mutex_; whose names survive a loss of power
};

}  // namespace esa
