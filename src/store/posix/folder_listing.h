// The files in a folder of the posix store, seen from outside: names, sizes and times.
//
// Opens no store and writes nothing, so that it may run beside stores; files that vanish meanwhile
// are left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "store/posix/file_system.h"

namespace esa {

struct FolderListing {
  struct BlockFile {
    BlockId id;
    std::uint64_t bytes = 0;
    std::int64_t used_us = 0;  // its recency, since 1970
  };
  struct OtherFile {
    std::string path;
    std::uint64_t bytes = 0;
    std::int64_t used_us = 0;
  };

  std::vector<BlockFile> blocks;       // committed
  std::vector<OtherFile> temporaries;  // of owners that live: blocks being written
  std::vector<OtherFile> leftovers;    // temporaries of dead owners
  std::vector<OtherFile> quarantined;
};

// kNotFound, kIoError: cannot be listed. kInvalidArgument: not a folder, or none that a store has
// opened before, which leaves a lock and a quarantine there.
Status CheckIsStore(FileSystem& files, const std::string& path);

// Errors: as above.
Result<FolderListing> ListFolder(FileSystem& files, const std::string& path);

}  // namespace esa
