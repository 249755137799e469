// A disk in memory that loses power: a file system for tests of what is left then.
//
// It promises what POSIX promises and no more. What File::Write and Allocate did is volatile until
// File::Sync, what create, rename, remove and MakeFolder did to a name until SyncFolder of the
// folder that holds the name. Restart keeps what was synced and, of the rest, a subset drawn by a
// seed: each page of 4096 bytes new, stale, zero or torn between two sectors; of a page that was
// synced before, each sector of 512 bytes old or new; lengths and times old or new, names as
// LossModel says.
//
// The test keeps the VolatileDisk, stores own the file systems. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "store/posix/file_system.h"

namespace esa::testing {

// Of the changes to the names of a folder since its last sync, which survive:
enum class LossModel {
  kOrdered,    // a prefix, as of a journal; a rename within a folder as a whole or not at all
  kReordered,  // any subset; of a rename also one half, so that both names stand, or none
};

class VolatileDisk {
 public:
  VolatileDisk();  // an empty root folder, /

  // Usable until the next Restart, after which all its calls fail.
  std::unique_ptr<FileSystem> Files() const;

  // Power fails when this many further calls that change something have returned: later ones fail
  // and change nothing.
  void CutPowerAfter(std::uint64_t calls);
  std::uint64_t calls() const;  // that changed something, since Restart

  // Loses power, if it is not lost already, and starts again.
  void Restart(std::uint64_t seed, LossModel model);

  // Starts again after an orderly halt: nothing is lost.
  void RestartSynced();

  // Syncs of paths that this names return at once and sync nothing: a mutant of the store that
  // forgot the call, or a disk that lies.
  void IgnoreSyncs(std::function<bool(const std::string& path)> ignored);

  // Behind the back of whoever has the disk mounted. Paths of files, sorted.
  std::vector<std::string> Paths() const;
  std::vector<std::byte> Content(const std::string& path) const;
  void Put(const std::string& path, std::vector<std::byte> bytes);  // synced; its folder stands

 private:
  friend class VolatileFile;
  friend class VolatileFiles;
  struct Tree;

  std::shared_ptr<Tree> tree_;
};

}  // namespace esa::testing
