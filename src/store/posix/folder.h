// One folder of the posix store: who owns it, what is committed in it, what it may hold.
//
// docs/capacity.md is the design: how several stores keep one capacity (`ledger`), see each other's
// pins (`<owner>.pins`) and each other's uses (modification times, written by Flush). A folder
// without a capacity takes no part in the first two.
// Threading: all methods from any thread. mutex_ guards the index and is not held during calls of
// the file system; ledger_mutex_ goes with the lock of `ledger` and is taken before mutex_.
#pragma once

#include <atomic>
#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "esa/block_store.h"
#include "store/block_id_hash.h"
#include "store/block_index.h"
#include "store/posix/admission.h"
#include "store/posix/checked_file.h"
#include "store/posix/file_system.h"

namespace esa {

// What the quarantine keeps, beside the capacity.
inline constexpr std::size_t kMaxQuarantined = 16;
inline constexpr std::uint64_t kMaxQuarantinedBytes = 256u << 20;

class Folder {
 public:
  struct Options {
    std::string path;
    std::uint64_t capacity_bytes = 0;  // 0: not bounded
    bool direct = false;               // O_DIRECT, if a probe shows that the filesystem takes it
    bool durable = false;              // a commit survives a loss of power
    bool allow_shared = false;         // others may write to it, or own it
    bool second_touch = false;         // this and the next: admission.h
    std::uint64_t write_bytes_per_day = 0;
    // Called, without the mutex, with every block that this folder evicts or replaces.
    std::function<void(const BlockId&)> on_gone = {};
  };

  // Creates what is missing, refuses a folder others may write to or own, removes what dead stores
  // left behind, scans, and evicts down to the capacity. `files` must outlive the folder.
  static Result<std::unique_ptr<Folder>> Open(FileSystem& files, Options options);
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return options_.path; }
  bool direct() const { return direct_; }
  bool durable() const { return options_.durable; }
  std::string PathOf(const BlockId& id) const;
  std::string NewTemporaryPath(const BlockId& id);

  // Is a block that is offered to be written? False: it would not pay, or the day's writes are used
  // up.
  bool Admit(const BlockId& id, std::uint64_t bytes, Admission admission) {
    return admission_->Admit(id, bytes, admission);
  }

  bool AdmitsWithoutDisk() const { return options_.write_bytes_per_day == 0; }

  // Makes room, by eviction if need be. kResourceExhausted: pinned and reserved bytes leave none.
  Status Reserve(std::uint64_t bytes);
  void Release(std::uint64_t bytes);

  // Makes the folder below which a block's files stand.
  Status MakeFanOut(const BlockId& id);

  // Gives a finished temporary file its final name; its bytes must have been reserved, and are a
  // committed block's from then on. On error they stay reserved, and the block is not stored.
  Status Commit(const std::string& temporary, const BlockId& id, BlockIndex::Entry entry);

  // Marks a use, without a call of the file system: Flush writes it to the file's time. That the
  // file is still there is not looked at.
  void Use(const BlockId& id, BlockIndex::Entry entry);

  // Writes down what changed since the last time: uses, parents before children, and pins. Forgets
  // the used blocks whose files are gone. To be called every second or so.
  void Flush();

  bool Exists(const BlockId& id) const;  // on disk, whoever committed it
  std::optional<std::int64_t> StampOf(const BlockId& id) const;
  void Forget(const BlockId& id);         // its file has vanished
  bool Quarantine(const BlockId& id);     // false: gone already
  bool Refused(const BlockId& id) const;  // found corrupt, and could not be moved aside
  Status Remove(const BlockId& id);

  void Pin(const BlockId& id);
  void Unpin(const BlockId& id);

  // Adds blocks, bytes, evicted_blocks and removed_leftovers to `stats`.
  void AddTo(StoreStats* stats) const;

 private:
  using Owners = std::unordered_set<std::string>;

  struct Found {
    void Add(Found part);

    Status status;  // of the thread that found it
    std::vector<std::pair<BlockId, BlockIndex::Entry>> blocks;
    std::uint64_t bytes = 0;            // of the blocks
    std::uint64_t temporary_bytes = 0;  // of the living
    std::uint64_t leftover_bytes = 0;   // of the dead, removed
  };

  Folder(FileSystem& files, Options options);

  Status Prepare();
  Status SyncNameOf(const BlockId& id);
  Result<Owners> LivingOwners();  // removes the files of the dead
  void MeasureClock();
  bool ProbeDirect();
  // Adds what lies in the folder to the index, and to the ledger if there is one; with `living`,
  // removes the temporaries of other owners.
  Status Scan(LockedNumbers* ledger, const Owners* living);
  Status ScanFanOut(const std::string& fan, const Owners* living, Found* found);
  Status FirstScan(const Owners& living);

  void WriteMarks();
  void ForgetVanished(const BlockId& id, std::int64_t stamp_us);
  void PublishPins();
  Status WritePins(std::span<const BlockId> pins);
  void WithdrawPins();
  bool MakeRoomInQuarantine(std::uint64_t bytes);  // false: too large for it
  std::uint64_t BytesOf(const BlockId& id) const;  // of its file; 0: gone

  // Calls `work` with ledger_mutex_ and the lock of `ledger` held, and writes what it changed.
  Status WithLedger(const std::function<Status(LockedNumbers*)>& work);
  Status RenameCounted(const std::string& temporary, const BlockId& id,
                       const BlockIndex::Entry& entry);
  // Removes a file by `drop`, its entry, and its bytes from the ledger.
  Status DropCounted(const BlockId& id, std::uint64_t reserved_again,
                     const std::function<Status()>& drop);
  void EraseEntry(const BlockId& id);
  std::uint64_t IndexedBytes(const BlockId& id) const;    // 0: not in the index
  void TakeBack(const BlockId& id, std::uint64_t bytes);  // a commit: its bytes are reserved again

  // These are such work, or part of it.
  Status MakeRoom(LockedNumbers* ledger, std::uint64_t bytes);
  bool UnsureOf(const LockedNumbers& ledger) const;
  Status Evict(LockedNumbers* ledger, const BlockId& id);
  void ReadForeignPins();
  std::vector<BlockId> PinsOf(const std::string& owner);

  Error NoRoom(std::uint64_t wanted) const;

  FileSystem& files_;
  const Options options_;
  const std::string owner_;
  std::unique_ptr<File> owner_lock_;
  std::unique_ptr<AdmissionPolicy> admission_;
  bool direct_ = false;
  std::int64_t clock_ahead_us_ = 0;  // of the file system's clock, where it shows
  std::atomic<std::uint64_t> next_temporary_{0};

  std::mutex ledger_mutex_;
  std::uint64_t known_reserved_ = 0;  // guarded by ledger_mutex_; up to the scan, or by us
  std::int64_t owed_stored_ = 0;      // guarded by ledger_mutex_; to be taken off the ledger
  std::int64_t owed_reserved_ = 0;    // guarded by ledger_mutex_; likewise
  std::atomic<std::uint64_t> vanished_bytes_{0};    // not found since the scan
  std::optional<std::uint64_t> known_pin_changes_;  // guarded by ledger_mutex_
  std::vector<BlockId> foreign_pins_;  // guarded by ledger_mutex_; pinned in index_ as well
  bool published_ = false;             // guarded by ledger_mutex_; there is a file of our pins

  mutable std::mutex mutex_;
  BlockIndex index_;                     // guarded by mutex_
  std::vector<BlockId> used_;            // guarded by mutex_; those unmarked in the index
  std::uint64_t evicted_blocks_ = 0;     // guarded by mutex_
  std::uint64_t removed_leftovers_ = 0;  // guarded by mutex_
  std::unordered_set<BlockId, BlockIdHash> refused_;              // guarded by mutex_
  std::unordered_map<BlockId, std::uint32_t, BlockIdHash> pins_;  // guarded by mutex_; ours
  bool pins_changed_ = false;                                     // guarded by mutex_
  std::bitset<256> synced_fans_;  // guarded by mutex_; whose names survive a loss of power
};

}  // namespace esa
