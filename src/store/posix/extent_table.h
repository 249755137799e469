// Which file of a folder lies in which cell of which extent.
//
// An extent is a preallocated file, divided into cells of one size; a cell holds one small file.
// The table stands on disk, is changed under its lock, and may be changed by several processes;
// this object has a copy of it in memory, and brings that up to date before it answers. What is
// written down, in which order and why: docs/formats/extents.md.
//
// Threading: all methods from any thread. mutex_ is held during calls of the file system.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "esa/block_store.h"
#include "store/posix/extent_format.h"
#include "store/posix/file_system.h"

namespace esa {

// The name of a file that may lie in a cell: 32 hexadecimal digits and an ending.
struct PackedName {
  BlockId id;
  std::string ending;

  static std::optional<PackedName> Parse(std::string_view name);
  std::string Text() const { return id.Hex() + ending; }
};

// Where a file lies, and which of the cell's files it is.
struct Cell {
  std::uint32_t extent = 0;
  std::uint32_t index = 0;
  std::uint64_t generation = 0;
  std::uint64_t serial = 0;  // of the extent
  std::uint64_t offset = 0;  // in it
  std::uint64_t bytes = 0;
  std::int64_t modified_us = 0;
};

class ExtentTable {
 public:
  struct Options {
    std::string folder;
    std::uint64_t capacity_bytes = 0;  // beyond it extents have one cell; 0: not bounded
    bool durable = false;    // what is in a cell survives a power loss until it is given away
    bool look_only = false;  // changes nothing of what it finds
  };

  ExtentTable(FileSystem& files, Options options);
  ~ExtentTable();  // gives back extents in which nothing lies

  // False: nothing was packed in this folder yet. Cheap.
  bool Exists();

  // A cell for a file that is to be written; makes table and extents as need be.
  Result<Cell> Allocate(const PackedName& name, std::uint64_t bytes);

  // Errors of all these: kNotFound, and those of the file system.
  Result<Cell> Find(const PackedName& name);
  Status Rename(const PackedName& from, const PackedName& to);  // replaces `to`
  Status Remove(const PackedName& name);
  Status SetModified(const PackedName& name, std::int64_t modified_us);

  // Names whose id begins with this byte.
  Result<std::vector<ListedFile>> List(std::uint8_t first_byte);
  Result<std::vector<std::uint8_t>> FirstBytes();  // for which there are names

  // Does the file still lie there? What was read before the answer is then the file's.
  Status StillThere(const Cell& cell) const;

  // All changes of the table, and the names of extents, survive a loss of power.
  Status Sync();

 private:
  using Clock = std::chrono::steady_clock;
  struct Place {
    std::uint32_t extent = 0;
    std::uint32_t index = 0;
    auto operator<=>(const Place&) const = default;
  };
  struct Slot {
    BlockId id;
    std::string ending;
    std::uint64_t generation = 0;
    std::int64_t modified_us = 0;
    std::uint64_t bytes = 0;
    bool used = false;
  };
  struct Extent {
    std::uint64_t serial = 0;  // 0: there is none of this number
    std::uint64_t cell_bytes = 0;
    std::uint32_t num_used = 0;
    std::vector<Slot> slots;
    std::uint64_t bytes() const { return slots.size() * cell_bytes; }
  };

  // All hold mutex_; those marked L the table's lock too.
  Status Open(bool create);
  Status CatchUp();                                    // looks whether there is anything new
  Status CatchUpLocked();                              // L
  Status Change(const std::function<Status()>& work);  // locks, catches up, works
  Status ReadAll();                                    // L
  Status ReadExtent(std::uint32_t number);             // L
  void RemoveStrangers();                              // L
  Status ReadCell(Place place);                        // L
  static std::optional<Slot> SlotFrom(const CellRecord& record, std::uint64_t cell_bytes);
  Status WriteHeader();                                            // L
  Status WriteCell(Place place, Slot slot);                        // L
  Status WriteExtent(std::uint32_t number, const Extent& extent);  // L
  template <class Record>
  Status WriteAnnounced(ChangedPlace place, std::uint64_t at, const Record& record);  // L
  Status NewExtent(std::uint64_t cell_bytes);                                         // L
  std::uint64_t SizeOfNewExtent(std::uint64_t cell_bytes) const;
  Status ClearCells(std::uint32_t number);  // L; of a number without an extent
  Status DropExtent(std::uint32_t number);  // L
  Status Trim(std::uint64_t slack_bytes);   // L
  Status Free(Place place);                 // L
  Status FreeShadowed();                    // L
  std::optional<Place> TakeFree(std::uint64_t cell_bytes);
  std::optional<Place> PlaceOf(const PackedName& name) const;
  Result<Place> Existing(const PackedName& name) const;  // kNotFound
  void Apply(Place place, Slot slot);
  void Link(Place place);
  void Unlink(Place place);
  void ForgetExtent(std::uint32_t number);
  Cell CellOf(Place place) const;
  Slot& SlotOf(Place place) { return extents_[place.extent].slots[place.index]; }
  std::string path() const { return TablePath(options_.folder); }

  FileSystem& files_;
  const Options options_;
  std::shared_ptr<File> table_;  // set once; null: there is none that we know of

  mutable std::mutex mutex_;
  std::optional<Clock::time_point> looked_;  // for a table that was not there
  std::optional<Clock::time_point> hung_;    // when its lock was not had
  TableHeader header_;                       // as this process last saw it
  bool tidied_ = false;
  bool doubtful_ = true;  // all must be read anew
  std::vector<Extent> extents_;
  std::map<BlockId, Place> blocks_;                // names with the ending of blocks
  std::map<std::string, Place> others_;            // by text
  std::set<Place> shadowed_;                       // blocks that stand in two cells: these go
  std::map<std::uint64_t, std::set<Place>> free_;  // by cell_bytes
  std::uint64_t total_bytes_ = 0;                  // of all extents
  std::uint64_t used_bytes_ = 0;                   // of the cells that are used
  bool names_unsynced_ = false;                    // of extents, or may be
};

}  // namespace esa
