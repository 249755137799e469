// Threads that do to a store all that may be done to it, at random, and verify all it says.
//
// The blocks follow from seeds, so that any process can verify what any other wrote.
// Threading: RunMixedLoad starts and joins its own threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {

struct MixedLoadOptions {
  std::uint64_t seed = 1;  // of the order of calls; blocks have seeds of their own
  int threads = 2;
  std::chrono::steady_clock::time_point end = {};

  // Blocks below this index stay pinned. Each of them is removed by one thread only.
  std::size_t pinned_blocks = 0;

  // Where the blocks' files lie, to remove some behind the store's back; empty: never.
  std::string vandalized_folder = {};

  // Called, from the threads, after a dump of the block was reported as successful, and before the
  // block is removed.
  std::function<void(std::size_t block)> on_committed = [](std::size_t) {};
  std::function<void(std::size_t block)> on_removing = [](std::size_t) {};
};

struct MixedLoadCounts {
  std::uint64_t dumps = 0;
  std::uint64_t failed_dumps = 0;
  std::uint64_t lookups = 0;
  std::uint64_t hits = 0;
  std::uint64_t loads = 0;         // of one part
  std::uint64_t missed_loads = 0;  // kNotFound: evicted or removed
  std::uint64_t failed_loads = 0;  // of another reason
  std::uint64_t wrong_bytes = 0;   // parts served wrong
  std::uint64_t removes = 0;
  std::uint64_t vanished = 0;  // files removed behind the store's back
  std::uint64_t cancels = 0;

  MixedLoadCounts& operator+=(const MixedLoadCounts& other);
};

// Blocks of these seeds, `count` of them, in chains of eight.
std::vector<SampleBlock> MakeBlocks(std::uint32_t first_seed, std::size_t count,
                                    const BlockLayout& layout = kSmallLayout);

MixedLoadCounts RunMixedLoad(BlockStore& store, const std::vector<SampleBlock>& blocks,
                             const MixedLoadOptions& options);

}  // namespace esa::testing
