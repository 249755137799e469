// A stack of two stores: a near tier above, for what is in use, and a far one below that holds all.
//
// What is dumped is accepted by the upper tier and written to the lower one behind the caller's
// back, within a bound; Flush says when that is done and what went wrong. What is loaded comes from
// the nearest tier that has it. docs/tiers.md tells what each verb does. More than two tiers are
// stacks of stacks.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "esa/block_store.h"

namespace esa {

struct StackOptions {
  std::uint64_t queue_bytes = 256u << 20;  // of blocks that the lower tier does not hold yet
  bool write_through = false;  // a dump's task ends when the lower tier has it, not before
  // Of the destructor: for what is not written yet, and once more for tiers that hang; these are
  // then left to themselves, with the memory they work on.
  std::chrono::milliseconds timeout{30000};
};

// Both tiers have the same layout.
std::unique_ptr<BlockStore> MakeStackedStore(std::unique_ptr<BlockStore> upper,
                                             std::unique_ptr<BlockStore> lower,
                                             const StackOptions& options);

}  // namespace esa
