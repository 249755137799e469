// What lies in a folder of the posix store, seen from outside: for `esa store stat`.
//
// Reads names, sizes and the fixed fields of headers; verifies nothing, changes nothing, and may
// run beside stores that work on the folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "esa/result.h"

namespace esa {

struct StoreSummary {
  struct OfLayout {
    BlockLayout layout;
    std::uint64_t blocks = 0;
  };

  std::uint64_t blocks = 0;       // committed
  std::uint64_t bytes = 0;        // of the committed
  std::uint64_t temporaries = 0;  // blocks being written, or left by a killed process
  std::uint64_t temporary_bytes = 0;
  std::uint64_t quarantined = 0;   // found corrupt and moved aside
  std::uint64_t unreadable = 0;    // of the committed: not a header of this version
  std::vector<OfLayout> layouts;   // most blocks first
  std::int64_t oldest_use_us = 0;  // since 1970; 0 without blocks
  std::int64_t newest_use_us = 0;
};

// kNotFound, kIoError: the folder cannot be listed. Files that vanish meanwhile are left out.
Result<StoreSummary> InspectFolder(const std::string& path);

}  // namespace esa
