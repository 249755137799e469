// A file system in which small files share big ones.
//
// A file per block costs 0.1 to 1 ms of kernel time to make and remove, more than it takes to
// write 64 KiB. Files of a store's folder that are named by a block id, and created with a length
// up to a bound, become cells of extents (extent_table.h); all other files, and those that stand
// already, are those of the file system below. Which of the two a file is does not show above:
// folder, writer, reader and `esa store` know names only.
//
// What differs: a packed file has its full length from the start; reading one that has been
// removed, and whose cell another file got, fails with kNotFound. Threading: as FileSystem.
#pragma once

#include <cstdint>
#include <memory>

#include "store/posix/file_system.h"

namespace esa {

struct PackingOptions {
  std::uint64_t pack_below_bytes = 0;  // files at least this long are their own
  std::uint64_t capacity_bytes = 0;    // of each folder: no more is taken for extents; 0: unbounded
  bool durable = false;    // what was synced in a cell survives until the cell is given away
  bool look_only = false;  // nothing in extents is changed, not even what is left over
};

std::unique_ptr<FileSystem> MakePackedFiles(std::unique_ptr<FileSystem> below,
                                            PackingOptions options = {});

}  // namespace esa
