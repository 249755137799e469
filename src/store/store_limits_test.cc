// The promises of block_store.h under load and under a bound, kept by every backend and by stacks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "store/testing/store_conformance.h"

namespace esa::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class StoreLimits : public StoreConformance {};

TEST_P(StoreLimits, EvictsTheLeastRecentlyUsed) {
  if (!BoundsItself()) return ExpectCapacityRefused();
  const auto store = Open(ConfigOfBlocks(3));
  const SampleBlock a(1), b(2), c(3), d(4);
  for (const SampleBlock* block : {&a, &b, &c}) DumpAll(*store, *block);
  Settle(*store);
  EXPECT_TRUE(Hit(*store, a));
  Settle(*store);
  EXPECT_THAT(DumpAll(*store, d).failures, IsEmpty());
  Settle(*store);
  EXPECT_FALSE(Hit(*store, b));
  EXPECT_EQ(LoadPart(*store, b, 0).error().code, ErrorCode::kNotFound);
  for (const SampleBlock* block : {&a, &c, &d}) EXPECT_TRUE(Hit(*store, *block));
  const StoreStats stats = store->Stats();
  EXPECT_EQ(stats.evicted_blocks, 1u);
  EXPECT_EQ(stats.blocks, 3u);
  EXPECT_LE(stats.bytes, stats.capacity_bytes);
}

TEST_P(StoreLimits, EvictsChildrenBeforeTheirParents) {
  if (!BoundsItself()) return ExpectCapacityRefused();
  const auto store = Open(ConfigOfBlocks(4));
  const auto chain = SampleChain(1, 4);
  for (const SampleBlock& block : chain) {
    ASSERT_TRUE(*store->Begin(block.key(), block.parent()));
  }
  // Committed from the end, as nothing forbids.
  for (std::size_t i : {3, 1, 2, 0}) Finish(*store, store->Dump(chain[i].Writes()));
  Settle(*store);
  std::vector<BlockKey> keys;
  for (const SampleBlock& block : chain) keys.push_back(block.key());
  for (std::uint32_t seed = 100; seed < 103; ++seed) {
    DumpAll(*store, SampleBlock(seed));
    Settle(*store);
    const std::vector<bool> hits = store->Lookup(keys);
    EXPECT_TRUE(std::ranges::is_sorted(hits, std::greater<>())) << seed;
  }
}

TEST_P(StoreLimits, RefusesABlockLargerThanTheCapacity) {
  if (!BoundsItself()) return ExpectCapacityRefused();
  StoreConfig config = Config();
  config.capacity_bytes = 4096;
  config.memory_bytes = 4096;
  const auto store = Open(config);
  const SampleBlock block(2);
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  const TaskResult result = Finish(*store, store->Dump(block.Writes()));
  ASSERT_FALSE(result.failures.empty());
  EXPECT_EQ(result.failures[0].error.code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(store->Stats().bytes, 0u);
}

TEST_P(StoreLimits, NeverEvictsPinnedBlocks) {
  if (!BoundsItself()) return ExpectCapacityRefused();
  const auto store = Open(ConfigOfBlocks(2));
  const SampleBlock a(1), b(2), c(3);
  const BlockId pins[] = {a.id(), b.id()};
  store->Pin(pins);  // before they exist
  store->Pin(pins);
  DumpAll(*store, a);
  DumpAll(*store, b);
  Settle(*store);
  ASSERT_TRUE(*store->Begin(c.key(), {}));
  const TaskResult refused = Finish(*store, store->Dump(c.Writes()));
  ASSERT_FALSE(refused.failures.empty());
  EXPECT_EQ(refused.failures[0].error.code, ErrorCode::kResourceExhausted);
  EXPECT_FALSE(Hit(*store, c));
  store->Abandon(c.id());
  store->Unpin(pins);
  ASSERT_TRUE(*store->Begin(c.key(), {}));
  EXPECT_FALSE(Finish(*store, store->Dump(c.Writes())).failures.empty());
  store->Abandon(c.id());
  store->Unpin(pins);
  EXPECT_THAT(DumpAll(*store, c).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, c).ok());
  Settle(*store);
  EXPECT_FALSE(Hit(*store, a));
  EXPECT_TRUE(Hit(*store, b));
}

TEST_P(StoreLimits, TakesATaskLargerThanTheQueue) {
  StoreConfig config = Config();
  config.queue_bytes = 1;
  const auto store = Open(config);
  for (std::uint32_t seed = 1; seed < 5; ++seed) {
    const SampleBlock block(seed);
    EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
    EXPECT_TRUE(LoadAll(*store, block).ok());
  }
}

TEST_P(StoreLimits, ServesManyThreadsUnderEviction) {
  const auto store = Open(ConfigOfBlocks(8));
  constexpr std::uint32_t kSeeds = 24;
  std::vector<SampleBlock> samples;
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) samples.emplace_back(seed);
  std::vector<int> wrong(4);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < wrong.size(); ++t) {
      threads.emplace_back([&, t] {
        for (std::uint32_t i = 0; i < 60; ++i) {
          const SampleBlock& block = samples[(i * (t + 1) + t) % kSeeds];
          const BlockId ids[] = {block.id()};
          if (*store->Begin(block.key(), {})) {
            if (!Finish(*store, store->Dump(block.Writes())).failures.empty()) ++wrong[t];
          }
          store->Pin(ids);
          const Status loaded = LoadAll(*store, block);
          if (!loaded && loaded.error().code != ErrorCode::kNotFound) ++wrong[t];
          store->Unpin(ids);
          Hit(*store, block);
          if (i % 7 == 0) (void)store->Remove(block.id());
        }
      });
    }
  }
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
  Settle(*store);
  const StoreStats stats = store->Stats();
  if (BoundsItself()) {
    EXPECT_LE(stats.bytes, stats.capacity_bytes);
  }
  EXPECT_EQ(stats.pending_tasks, 0u);
  EXPECT_EQ(stats.quarantined_blocks, 0u);
}

TEST_P(StoreLimits, DumpsALayerMajorPrefill) {
  const auto store = Open(Config());
  const auto chain = SampleChain(1, 300);
  for (const SampleBlock& block : chain) {
    ASSERT_TRUE(*store->Begin(block.key(), block.parent()));
  }
  for (std::uint32_t slice = 0; slice < kSmallLayout.num_slices; ++slice) {
    std::vector<SliceWrite> writes;
    for (const SampleBlock& block : chain) writes.push_back(block.Write(slice));
    EXPECT_THAT(Finish(*store, store->Dump(writes)).failures, IsEmpty());
  }
  std::vector<BlockKey> keys;
  for (const SampleBlock& block : chain) keys.push_back(block.key());
  EXPECT_EQ(store->LookupPrefix(keys), chain.size());
  for (const SampleBlock& block : chain) EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_P(StoreLimits, EndsWithTasksUnderWay) {
  std::vector<SampleBlock> samples;
  for (std::uint32_t seed = 0; seed < 20; ++seed) samples.emplace_back(seed);
  const auto store = Open(Config());
  for (const SampleBlock& block : samples) {
    ASSERT_TRUE(*store->Begin(block.key(), {}));
    ASSERT_TRUE(store->Dump(block.Writes()).ok());
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, StoreLimits, ::testing::ValuesIn(ConformanceBackends()),
                         ConformanceName);

}  // namespace
}  // namespace esa::testing
