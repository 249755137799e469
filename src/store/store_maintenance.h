// What an operator does to a folder of the posix store: verify it, tidy it, remove blocks.
//
// All may run beside stores that work on the folder and touch nothing that one of them is writing.
// What writes opens the folder as a store does, under the same locks, which removes what dead
// writers left, and refuses a folder that others may write to or own unless `allow_shared_folder`.
// Pins are not looked at: a block that a store has pinned may go, and is a miss or a failed load
// there.
//
// Errors of all: those of store_inspect.h, and what the system refused.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "esa/result.h"
#include "store/store_inspect.h"

namespace esa {

struct VerifyOptions {
  int threads = 2;         // that read
  bool quarantine = true;  // corrupt blocks
  bool allow_shared_folder = false;
  // Bytes of files done of all: by one thread at a time, not always the caller's.
  std::function<void(std::uint64_t done, std::uint64_t total)> on_progress = {};
};

struct VerifyReport {
  enum class Fault {
    kCorrupt,     // a checksum, a size or a field of the head is wrong
    kForeign,     // another version of the format: left alone
    kUnreadable,  // the system refused: left alone
  };
  struct Finding {
    BlockId id;
    Fault fault = Fault::kCorrupt;
    std::string what;          // one line
    bool quarantined = false;  // moved aside just now
  };

  std::uint64_t blocks = 0;  // looked at
  std::uint64_t read_bytes = 0;
  std::uint64_t corrupt = 0;
  std::uint64_t foreign = 0;
  std::uint64_t unreadable = 0;
  std::vector<Finding> findings;  // by id
};

// Reads every committed block of a folder and holds it to all its checksums. Blocks that vanish
// meanwhile are left out.
Result<VerifyReport> VerifyFolder(const std::string& path, const VerifyOptions& options);

struct CollectOptions {
  std::optional<std::uint64_t> capacity_bytes = {};  // evict down to this
  std::optional<std::int64_t> used_since_us = {};    // evict what was last used before this
  bool empty_quarantine = false;                     // else it keeps kMaxQuarantined files
  bool allow_shared_folder = false;
  bool dry_run = false;  // says what it would do
};

struct CollectReport {
  StoreSummary::Files leftovers;  // removed, as all but the last two
  StoreSummary::Files quarantined;
  StoreSummary::Files expired;  // not used since
  StoreSummary::Files evicted;  // for the capacity
  StoreSummary::Files kept;     // committed, still there
  StoreSummary::Files open;     // being written; counted into the capacity
};

// Removes what nobody needs from a folder. Blocks go in the order in which stores evict: least
// recently used first, so that a chain loses its end first. One that a store uses meanwhile, so
// that it is not among them any more, stays.
Result<CollectReport> CollectFolder(const std::string& path, const CollectOptions& options);

// The blocks that `prefixes` name, ids or at least 4 hexadecimal digits of one; with `chain` also
// all that continue them. In the order in which they may go: a block before its parent.
// kInvalidArgument: not such digits, or several blocks begin so. kNotFound: none does.
Result<std::vector<BlockInfo>> FindBlocks(std::span<const std::string> folders,
                                          std::span<const std::string> prefixes, bool chain);

// Removes the blocks, in their order; says how many were still there.
Result<StoreSummary::Files> RemoveBlocks(std::span<const BlockInfo> blocks,
                                         bool allow_shared_folder = false);

struct RemoveAllOptions {
  bool allow_shared_folder = false;
  bool dry_run = false;  // says what it would do
};

// Removes all committed blocks, also those in use, and the quarantine: `expired` has the blocks.
Result<CollectReport> RemoveAllBlocks(const std::string& path, const RemoveAllOptions& options);

}  // namespace esa
