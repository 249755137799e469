// The promises of block_store.h, kept by every backend and by stacks.
#include "store/testing/store_conformance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

namespace esa::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

TEST_P(StoreConformance, ServesWhatWasDumped) {
  const auto store = Open(Config());
  EXPECT_EQ(store->layout(), kSmallLayout);
  const SampleBlock block(1);
  EXPECT_FALSE(Hit(*store, block));
  ASSERT_TRUE(*store->Begin(block.key(), block.parent()));
  const TaskResult dumped = Finish(*store, store->Dump(block.Writes()));
  EXPECT_THAT(dumped.failures, IsEmpty());
  EXPECT_EQ(dumped.bytes, 6u * 4096);
  EXPECT_TRUE(Hit(*store, block));
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_P(StoreConformance, IsInvisibleUntilTheLastSlice) {
  const auto store = Open(Config());
  const SampleBlock block(1);
  ASSERT_TRUE(*store->Begin(block.key(), block.parent()));
  for (std::uint32_t slice : {5u, 0u, 3u, 1u, 4u}) {
    EXPECT_THAT(Finish(*store, store->Dump({block.Write(slice)})).failures, IsEmpty());
    EXPECT_FALSE(Hit(*store, block));
    EXPECT_EQ(LoadPart(*store, block, slice).error().code, ErrorCode::kNotFound);
  }
  EXPECT_EQ(store->Stats().blocks, 0u);
  EXPECT_THAT(Finish(*store, store->Dump({block.Write(2)})).failures, IsEmpty());
  EXPECT_TRUE(Hit(*store, block));
  EXPECT_TRUE(LoadAll(*store, block).ok());
  Settle(*store);
  EXPECT_EQ(store->Stats().blocks, 1u);
}

TEST_P(StoreConformance, CopiesRepresentationsBeforeDumpReturns) {
  const auto store = Open(Config());
  const SampleBlock block(1);
  ASSERT_TRUE(*store->Begin(block.key(), block.parent()));
  std::vector<std::byte> representation(kSmallLayout.representation_bytes);
  std::vector<TaskId> tasks;
  for (SliceWrite write : block.Writes()) {
    std::copy_n(write.representation, representation.size(), representation.begin());
    write.representation = representation.data();
    tasks.push_back(*store->Dump({write}));
    std::fill(representation.begin(), representation.end(), std::byte{0});
  }
  for (TaskId task : tasks) EXPECT_THAT(Finish(*store, task).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_P(StoreConformance, TakesBuffersOfAnyAlignment) {
  const auto store = Open(Config());
  const SampleBlock block(1);
  ASSERT_TRUE(*store->Begin(block.key(), block.parent()));
  const AlignedBuffer buffer = MakeAligned(8192);
  for (SliceWrite write : block.Writes()) {
    std::copy_n(write.data, 4096, buffer.get() + 1);
    write.data = buffer.get() + 1;
    EXPECT_THAT(Finish(*store, store->Dump({write})).failures, IsEmpty());
  }
  EXPECT_TRUE(LoadAll(*store, block).ok());
  EXPECT_THAT(Finish(*store, store->Load({{block.id(), 2, buffer.get() + 7}})).failures, IsEmpty());
  EXPECT_TRUE(std::equal(buffer.get() + 7, buffer.get() + 7 + 4096, block.slice(2)));
}

TEST_P(StoreConformance, ACrewLoadsWhatLoadDoes) {
  const auto store = Open(Config());
  const SampleBlock block(1), missing(2);
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  ASSERT_TRUE(Hit(*store, block));
  EXPECT_TRUE(LoadByCrew(*store, block).ok());
  EXPECT_EQ(LoadByCrew(*store, missing).error().code, ErrorCode::kNotFound);
  const AlignedBuffer buffer = MakeAligned(8192);
  const auto at = [&](std::size_t offset) { return buffer.get() + offset; };
  const TaskResult result =
      Finish(*store, store->LoadWith(OnTwoThreads, {{missing.id(), 0, at(0)},
                                                    {block.id(), kTokens, at(0)},
                                                    {block.id(), kRepresentations, at(1024)},
                                                    {block.id(), 99, at(4096)},
                                                    {block.id(), 3, at(4096)}}));
  ASSERT_EQ(result.failures.size(), 2u);
  EXPECT_EQ(result.failures[0].index, 0u);
  EXPECT_EQ(result.failures[1].index, 3u);
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(block.key().tokens), std::span(at(0), 16)));
  EXPECT_TRUE(std::ranges::equal(block.representations(),
                                 std::span(at(1024), block.representations().size())));
  EXPECT_TRUE(std::equal(block.slice(3), block.slice(3) + 4096, at(4096)));
}

TEST_P(StoreConformance, BeginSaysWhetherThereIsSomethingToDump) {
  const auto store = Open(Config());
  const SampleBlock block(1);
  EXPECT_TRUE(*store->Begin(block.key(), block.parent()));
  EXPECT_FALSE(*store->Begin(block.key(), block.parent()));
  store->Abandon(block.id());
  EXPECT_TRUE(*store->Begin(block.key(), block.parent()));
  EXPECT_THAT(Finish(*store, store->Dump(block.Writes())).failures, IsEmpty());
  EXPECT_FALSE(*store->Begin(block.key(), block.parent()));
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_P(StoreConformance, BeginRefusesWrongTokens) {
  const auto store = Open(Config());
  const SampleBlock block(1), other(2);
  const std::vector<std::int32_t> few(3);
  EXPECT_EQ(store->Begin({block.id(), few}, {}).error().code, ErrorCode::kInvalidArgument);
  DumpAll(*store, block);
  EXPECT_EQ(store->Begin({block.id(), other.key().tokens}, {}).error().code,
            ErrorCode::kInvalidArgument);
}

TEST_P(StoreConformance, LookupComparesTokens) {
  const auto store = Open(Config());
  const SampleBlock block(1), other(2);
  DumpAll(*store, block);
  const std::vector<BlockKey> keys = {
      block.key(), {block.id(), other.key().tokens}, other.key(), block.key()};
  EXPECT_THAT(store->Lookup(keys), ElementsAre(true, false, false, true));
  EXPECT_EQ(store->LookupPrefix(keys), 1u);
  const StoreStats stats = store->Stats();
  EXPECT_EQ(stats.lookup_hits, 3u);
  EXPECT_EQ(stats.lookup_misses, 3u);
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_P(StoreConformance, FindsTheStoredPrefix) {
  const auto store = Open(Config());
  const auto chain = SampleChain(1, 5);
  std::vector<BlockKey> keys;
  for (const SampleBlock& block : chain) keys.push_back(block.key());
  EXPECT_EQ(store->LookupPrefix(keys), 0u);
  for (std::size_t i : {0, 1, 2, 4}) DumpAll(*store, chain[i]);
  EXPECT_EQ(store->LookupPrefix(keys), 3u);
  EXPECT_THAT(store->Lookup(keys), ElementsAre(true, true, true, false, true));
  EXPECT_EQ(store->LookupPrefix({}), 0u);
  EXPECT_THAT(store->Lookup({}), IsEmpty());
}

TEST_P(StoreConformance, SaysWhichPartsOfALoadFailed) {
  const auto store = Open(Config());
  const SampleBlock block(1), missing(2);
  DumpAll(*store, block);
  const AlignedBuffer buffer = MakeAligned(6 * 4096);
  const auto at = [&](std::size_t i) { return buffer.get() + i * 4096; };
  const TaskResult result = Finish(*store, store->Load({{missing.id(), 0, at(0)},
                                                        {block.id(), 3, at(1)},
                                                        {block.id(), 6, at(2)},
                                                        {missing.id(), kRepresentations, at(3)},
                                                        {block.id(), kRepresentations, at(4)},
                                                        {block.id(), 1, nullptr}}));
  ASSERT_EQ(result.failures.size(), 4u);
  EXPECT_EQ(result.failures[0].index, 0u);
  EXPECT_EQ(result.failures[0].error.code, ErrorCode::kNotFound);
  EXPECT_EQ(result.failures[1].index, 2u);
  EXPECT_EQ(result.failures[1].error.code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(result.failures[2].index, 3u);
  EXPECT_EQ(result.failures[3].index, 5u);
  EXPECT_EQ(result.bytes, 4096u + block.representations().size());
  EXPECT_TRUE(std::equal(at(1), at(2), block.slice(3)));
  EXPECT_EQ(store->Stats().load_failures, 4u);
}

TEST_P(StoreConformance, AFailedPartLeavesItsBlockUncommitted) {
  const auto store = Open(Config());
  const SampleBlock good(1), bad(2), unopened(3);
  ASSERT_TRUE(*store->Begin(good.key(), {}));
  ASSERT_TRUE(*store->Begin(bad.key(), {}));
  std::vector<SliceWrite> writes = good.Writes();
  writes.push_back(bad.Write(0));
  writes.push_back(bad.Write(0));
  writes.push_back(unopened.Write(0));
  const TaskResult result = Finish(*store, store->Dump(writes));
  // Whether slice 0 of `bad` got through before its repetition failed the block is open.
  ASSERT_GE(result.failures.size(), 2u);
  const auto& [repeated, unknown] =
      std::tie(result.failures[result.failures.size() - 2], result.failures.back());
  EXPECT_GE(result.failures[0].index, 6u);
  EXPECT_EQ(repeated.index, 7u);
  EXPECT_EQ(repeated.error.code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(unknown.index, 8u);
  EXPECT_EQ(unknown.error.code, ErrorCode::kNotFound);
  for (std::uint32_t slice = 1; slice < 6; ++slice) {
    EXPECT_EQ(Finish(*store, store->Dump({bad.Write(slice)})).failures.size(), 1u);
  }
  EXPECT_FALSE(Hit(*store, bad));
  EXPECT_TRUE(Hit(*store, good));
  EXPECT_EQ(store->Stats().dump_failures, result.failures.size() + 5);
  store->Abandon(bad.id());
  EXPECT_THAT(DumpAll(*store, bad).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, bad).ok());
}

TEST_P(StoreConformance, AbandonForgetsAnOpenBlockAndNothingElse) {
  const auto store = Open(Config());
  const SampleBlock block(1);
  store->Abandon(block.id());
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  EXPECT_THAT(Finish(*store, store->Dump({block.Write(0)})).failures, IsEmpty());
  store->Abandon(block.id());
  EXPECT_EQ(Finish(*store, store->Dump({block.Write(1)})).failures.size(), 1u);
  DumpAll(*store, block);
  store->Abandon(block.id());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_P(StoreConformance, FollowsTasks) {
  const auto store = Open(Config());
  const SampleBlock block(1);
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  const TaskId task = *store->Dump(block.Writes());
  EXPECT_TRUE(store->Wait(task, Soon()).ok());
  EXPECT_TRUE(store->Poll(task));
  EXPECT_EQ(store->Wait(task, Soon()).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store->Wait(task + 1000, Soon()).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(store->Poll(task + 1000));
  store->Cancel(task);
  store->Cancel(task + 1000);
  EXPECT_THAT(Finish(*store, store->Dump({})).failures, IsEmpty());
  EXPECT_THAT(Finish(*store, store->Load({})).failures, IsEmpty());
  const BlockId ids[] = {block.id(), SampleBlock(2).id()};
  EXPECT_THAT(Finish(*store, store->Prefetch(ids)).failures, IsEmpty());
  EXPECT_EQ(store->Stats().pending_tasks, 0u);
}

TEST_P(StoreConformance, GivesTheTokensBack) {
  const auto store = Open(Config());
  const SampleBlock block(1);
  DumpAll(*store, block);
  std::vector<std::int32_t> tokens(kSmallLayout.block_tokens, -1);
  const SliceRead read{block.id(), kTokens, reinterpret_cast<std::byte*>(tokens.data())};
  EXPECT_THAT(Finish(*store, store->Load({read})).failures, IsEmpty());
  EXPECT_THAT(tokens, ElementsAreArray(block.key().tokens));
}

TEST_P(StoreConformance, TouchesNoBufferAfterCancel) {
  const auto store = Open(Config());
  const SampleBlock block(1);
  DumpAll(*store, block);
  for (int round = 0; round < 50; ++round) {
    const AlignedBuffer buffer = MakeAligned(6 * 4096);
    std::vector<SliceRead> reads;
    for (std::uint32_t i = 0; i < 6; ++i) reads.push_back({block.id(), i, buffer.get() + i * 4096});
    const TaskId task = *store->Load(reads);
    store->Cancel(task);
    const Result<TaskResult> result = store->Wait(task, Soon());
    ASSERT_TRUE(result.ok()) << result.error().message;
    // A write of the store's from here on is a race and a use after free to the sanitizers.
    std::fill_n(buffer.get(), 6 * 4096, std::byte{1});
    EXPECT_EQ(store->Wait(task, Soon()).error().code, ErrorCode::kNotFound);
  }
}

TEST_P(StoreConformance, ACancelledDumpLeavesNothing) {
  const auto store = Open(Config());
  for (std::uint32_t seed = 1; seed < 30; ++seed) {
    const SampleBlock block(seed);
    ASSERT_TRUE(*store->Begin(block.key(), {}));
    const TaskId task = *store->Dump(block.Writes());
    store->Cancel(task);
    Finish(*store, task);
    store->Abandon(block.id());
    if (Hit(*store, block)) {  // it was quicker than Cancel
      EXPECT_TRUE(LoadAll(*store, block).ok());
    } else {
      EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
      EXPECT_TRUE(LoadAll(*store, block).ok());
    }
  }
}

TEST_P(StoreConformance, Removes) {
  const auto store = Open(Config());
  const SampleBlock block(1);
  EXPECT_EQ(store->Remove(block.id()).error().code, ErrorCode::kNotFound);
  DumpAll(*store, block);
  EXPECT_TRUE(store->Remove(block.id()).ok());
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_EQ(LoadPart(*store, block, 0).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store->Stats().bytes, 0u);
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_P(StoreConformance, CountsWhatItDoes) {
  const auto store = Open(Config());
  const SampleBlock a(1), b(2);
  DumpAll(*store, a);
  DumpAll(*store, b);
  EXPECT_TRUE(LoadAll(*store, a).ok());
  Settle(*store);
  const StoreStats stats = store->Stats();
  EXPECT_EQ(stats.blocks, 2u);
  EXPECT_GE(stats.bytes, 2u * 6 * 4096);
  EXPECT_EQ(stats.capacity_bytes, 0u);
  EXPECT_EQ(stats.dumped_blocks, 2u);
  EXPECT_EQ(stats.dumped_bytes, 2u * 6 * 4096);
  EXPECT_EQ(stats.loaded_slices, 6u);
  EXPECT_EQ(stats.loaded_bytes, 6u * 4096 + a.representations().size());
  EXPECT_EQ(stats.evicted_blocks + stats.quarantined_blocks, 0u);
  EXPECT_EQ(stats.dump_failures + stats.load_failures, 0u);
}

TEST_P(StoreConformance, WorksWithoutRepresentations) {
  BlockLayout layout = kSmallLayout;
  layout.representation_bytes = 0;
  const auto store = Open(Config(), layout);
  const SampleBlock block(1, layout);
  std::vector<SliceWrite> writes = block.Writes();
  for (SliceWrite& write : writes) write.representation = nullptr;
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  EXPECT_THAT(Finish(*store, store->Dump(writes)).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

INSTANTIATE_TEST_SUITE_P(Backends, StoreConformance, ::testing::ValuesIn(ConformanceBackends()),
                         ConformanceName);

}  // namespace
}  // namespace esa::testing
