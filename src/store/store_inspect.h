// What lies in folders of the posix store, seen from outside: for `esa store ls` and `stat`.
//
// Reads names, sizes and the fixed fields of headers; verifies nothing, changes nothing, and may
// run beside stores that work on the folders. Files that vanish meanwhile are left out. Times are
// in microseconds since 1970.
// Errors of all: kNotFound, kIoError, a folder cannot be listed; kInvalidArgument, it is none of a
// store.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "esa/result.h"

namespace esa {

// Success: all are folders of stores. To be asked before a long piece of work.
Status CheckStoreFolders(std::span<const std::string> folders);

// A committed block, as the name, the size and the unverified header of its file say.
struct BlockInfo {
  std::string folder;
  BlockId id;
  std::uint64_t bytes = 0;
  std::int64_t used_us = 0;  // its recency
  std::string unreadable;    // why the fields below are not known; empty: they are
  BlockId parent = {};       // of a sequence's first block: a name that no block has
  BlockLayout layout = {};
};

struct BlockList {
  std::vector<BlockInfo> blocks;  // most recent first
  std::uint64_t total = 0;        // of the folders, also beyond the limit
};

struct ListOptions {
  std::size_t limit = std::numeric_limits<std::size_t>::max();
  bool headers = true;  // false: unreadable, parent and layout stay empty, and no file is opened
};

// The most recent blocks of all folders together.
Result<BlockList> ListBlocks(std::span<const std::string> folders, const ListOptions& options);

struct StoreSummary {
  struct OfLayout {
    BlockLayout layout;
    std::uint64_t blocks = 0;
    std::uint64_t bytes = 0;
  };
  struct Files {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
  };

  std::uint64_t blocks = 0;        // committed
  std::uint64_t bytes = 0;         // of the committed
  Files open;                      // blocks being written
  Files leftovers;                 // temporary files of writers that died
  Files quarantined;               // found corrupt and moved aside
  std::uint64_t unreadable = 0;    // of the committed: not a header of this version
  std::vector<OfLayout> layouts;   // most blocks first
  std::int64_t oldest_use_us = 0;  // 0 without blocks
  std::int64_t newest_use_us = 0;
  std::uint64_t filesystem_bytes = 0;       // of the filesystem the folder lies in; 0: not known
  std::uint64_t filesystem_free_bytes = 0;  // what this user may still write
};

// Appends what it finds to `blocks`, where given, in no order.
Result<StoreSummary> InspectFolder(const std::string& path,
                                   std::vector<BlockInfo>* blocks = nullptr);

}  // namespace esa
