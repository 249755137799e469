// What a stack does with loads: from which tier, promotion, one read of the lower tier for all who
// ask, recency, and a lower tier that hangs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "store/testing/scripted_stack.h"

namespace esa::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class StackedLoad : public ScriptedStack {
 protected:
  std::uint64_t MostReads(const SampleBlock& block) const {
    std::uint64_t most = script_->reads(block.id(), kRepresentations);
    for (std::uint32_t i = 0; i < 6; ++i) most = std::max(most, script_->reads(block.id(), i));
    return most;
  }
};

TEST_F(StackedLoad, TakesEachPartFromTheNearestTierAndKeepsItsIndex) {
  const SampleBlock below(1), above(2), missing(3);
  const auto store = StackOver({&below});
  DumpAll(*store, above);
  const AlignedBuffer buffer = MakeAligned(6 * 4096);
  const auto at = [&](std::size_t i) { return buffer.get() + i * 4096; };
  const TaskResult result = Finish(*store, store->Load({{below.id(), 4, at(0)},
                                                        {missing.id(), 0, at(1)},
                                                        {above.id(), 5, at(2)},
                                                        {below.id(), 6, at(3)},
                                                        {below.id(), kRepresentations, at(4)},
                                                        {above.id(), 9, at(5)}}));
  ASSERT_EQ(result.failures.size(), 3u);
  EXPECT_EQ(result.failures[0].index, 1u);
  EXPECT_EQ(result.failures[0].error.code, ErrorCode::kNotFound);
  EXPECT_EQ(result.failures[1].index, 3u);
  EXPECT_EQ(result.failures[1].error.code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(result.failures[2].index, 5u);
  EXPECT_EQ(result.bytes, 2 * 4096u + below.representations().size());
  EXPECT_TRUE(std::equal(at(0), at(1), below.slice(4)));
  EXPECT_TRUE(std::equal(at(2), at(3), above.slice(5)));
  EXPECT_EQ(script_->reads(above.id(), 5), 0u);
  const StoreStats stats = store->Stats();
  EXPECT_EQ(stats.load_failures, 3u);
  EXPECT_EQ(stats.tiers[0].load_failures, 1u) << "what is below is no failure above";
}

TEST_F(StackedLoad, PrefetchMovesBlocksUpOnce) {
  const SampleBlock a(1), b(2), missing(3);
  const auto store = StackOver({&a, &b});
  const BlockId ids[] = {a.id(), missing.id(), b.id(), a.id()};
  EXPECT_THAT(Finish(*store, store->Prefetch(ids)).failures, IsEmpty());
  EXPECT_EQ(store->Stats().promoted_blocks, 2u);
  EXPECT_TRUE(LoadAll(*store, a).ok());
  EXPECT_TRUE(LoadAll(*store, b).ok());
  EXPECT_TRUE(Hit(*store, a));
  Finish(*store, store->Prefetch(ids));
  EXPECT_EQ(MostReads(a), 1u);
  EXPECT_EQ(MostReads(b), 1u);
  EXPECT_EQ(store->Stats().promoted_blocks, 2u);
}

TEST_F(StackedLoad, AllWhoAskForABlockOnItsWayUpShareOneRead) {
  const SampleBlock block(1);
  const auto store = StackOver({&block});
  const BlockId ids[] = {block.id()};
  script_->Hang();
  const TaskId first = *store->Prefetch(ids);
  ASSERT_TRUE(script_->WaitForTasks(1));
  const TaskId second = *store->Prefetch(ids);
  PendingLoad load(block);
  const TaskId third = *store->Load(load.reads);
  for (const TaskId task : {first, second, third}) {
    EXPECT_FALSE(store->Poll(task));
    EXPECT_EQ(CodeOf(store->Wait(task, Shortly())), ErrorCode::kDeadlineExceeded);
  }
  script_->LetGo();
  for (const TaskId task : {third, second, first}) {
    EXPECT_THAT(Finish(*store, task).failures, IsEmpty());
  }
  EXPECT_TRUE(load.Holds(block));
  EXPECT_EQ(MostReads(block), 1u);
}

TEST_F(StackedLoad, IsServedFromBelowWhenAPromotionFails) {
  const SampleBlock block(1);
  const auto store = StackOver({&block}, 4096);  // no room above
  const BlockId ids[] = {block.id()};
  EXPECT_THAT(Finish(*store, store->Prefetch(ids)).failures, IsEmpty());
  EXPECT_EQ(store->Stats().promoted_blocks, 0u);
  EXPECT_TRUE(LoadAll(*store, block).ok());
  script_->FailLoads(IoError("the disk is gone"));
  EXPECT_THAT(Finish(*store, store->Prefetch(ids)).failures, IsEmpty());
  EXPECT_EQ(LoadPart(*store, block, 0).error().code, ErrorCode::kIoError);
}

TEST_F(StackedLoad, ACancelledLoadOfABlockOnItsWayUpEndsAtOnce) {
  const SampleBlock block(1);
  const auto store = StackOver({&block});
  const BlockId ids[] = {block.id()};
  script_->Hang();
  const TaskId prefetch = *store->Prefetch(ids);
  PendingLoad load(block);
  const TaskId task = *store->Load(load.reads);
  std::jthread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that Finish waits, mostly
    store->Cancel(task);
  });
  const TaskResult result = Finish(*store, task);
  ASSERT_EQ(result.failures.size(), 6u);
  EXPECT_EQ(result.failures[3].error.code, ErrorCode::kCancelled);
  EXPECT_EQ(store->Stats().cancelled_parts, 6u);
  store->Cancel(prefetch);
  EXPECT_THAT(Finish(*store, prefetch).failures, IsEmpty());
  script_->LetGo();
}

TEST_F(StackedLoad, PromotesWhatIsLoadedMoreThanOnce) {
  const SampleBlock block(1);
  const auto store = StackOver({&block});
  const BlockId ids[] = {block.id()};
  EXPECT_TRUE(LoadAll(*store, block).ok());
  EXPECT_EQ(MostReads(block), 1u);
  EXPECT_EQ(store->Stats().promoted_blocks, 0u);
  script_->Hang();  // counts from here
  script_->LetGo();
  EXPECT_TRUE(LoadPart(*store, block, 0).ok());
  EXPECT_TRUE(script_->WaitForTasks(2)) << "the load, and the first of the promotion";
  Finish(*store, store->Prefetch(ids));  // waits for it
  const std::uint64_t loads = script_->loads();
  EXPECT_TRUE(LoadAll(*store, block).ok());
  EXPECT_EQ(script_->loads(), loads);
  EXPECT_EQ(store->Stats().promoted_blocks, 1u);
}

TEST_F(StackedLoad, ServesWhatIsInMemoryWhileTheLowerTierHangs) {
  const SampleBlock below(1), above(2), late(3);
  const auto store = StackOver({&below});
  DumpAll(*store, above);
  EXPECT_TRUE(store->Flush(Soon()).ok());
  script_->Hang();
  PendingLoad load(below);
  const TaskId task = *store->Load(load.reads);
  const BlockId ids[] = {below.id()};
  const TaskId prefetch = *store->Prefetch(ids);
  EXPECT_THAT(DumpAll(*store, late).failures, IsEmpty());
  for (const SampleBlock* block : {&above, &late}) {
    EXPECT_TRUE(Hit(*store, *block));
    EXPECT_TRUE(LoadAll(*store, *block).ok());
  }
  EXPECT_EQ(CodeOf(store->Wait(task, Shortly())), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(CodeOf(store->Wait(prefetch, Shortly())), ErrorCode::kDeadlineExceeded);
  script_->LetGo();
  EXPECT_THAT(Finish(*store, task).failures, IsEmpty());
  EXPECT_TRUE(load.Holds(below));
  EXPECT_TRUE(store->Flush(Soon()).ok());
}

TEST_F(StackedLoad, LookupAsksBelowForTheRestAlone) {
  const auto chain = SampleChain(1, 5);
  const auto store = StackOver({&chain[1], &chain[2], &chain[4]});
  DumpAll(*store, chain[0]);
  std::vector<BlockKey> keys;
  for (const SampleBlock& block : chain) keys.push_back(block.key());
  EXPECT_EQ(store->LookupPrefix(keys), 3u);
  EXPECT_THAT(store->Lookup(keys), ElementsAre(true, true, true, false, true));
  EXPECT_EQ(store->LookupPrefix({}), 0u);
  EXPECT_TRUE(store->Flush(Soon()).ok());
  const StoreStats stats = store->Stats();
  EXPECT_EQ(stats.lookup_hits, 7u);
  EXPECT_EQ(stats.lookup_misses, 2u);
  EXPECT_EQ(stats.tiers[1].lookup_hits, 5u);
}

TEST_F(StackedLoad, ALoadIsAUseInTheUpperTier) {
  StoreConfig config;
  config.backend = "memory|memory";
  config.memory_bytes = 2 * kBlockSum;
  const auto store = *CreateBlockStore(config, kSmallLayout);
  const SampleBlock a(1), b(2), c(3);
  for (const SampleBlock* block : {&a, &b}) DumpAll(*store, *block);
  EXPECT_TRUE(store->Flush(Soon()).ok());
  EXPECT_TRUE(LoadPart(*store, a, 0).ok());
  DumpAll(*store, c);
  EXPECT_TRUE(LoadPart(*store, a, 1).ok());
  EXPECT_EQ(store->Stats().tiers[1].loaded_slices, 0u);
  EXPECT_TRUE(LoadPart(*store, b, 1).ok());
  EXPECT_EQ(store->Stats().tiers[1].loaded_slices, 1u);
  EXPECT_EQ(store->Stats().tiers[0].evicted_blocks, 1u);
}

TEST_F(StackedLoad, AHitInTheUpperTierIsAUseInTheLower) {
  const auto store = Stack(Memory(kBlockSum), Memory(2 * kBlockSum), {.write_through = true});
  const SampleBlock a(1), b(2), c(3);
  DumpAll(*store, b);
  DumpAll(*store, a);  // memory holds a alone
  const BlockId pin[] = {a.id()};
  const BlockKey keys[] = {b.key()};
  store->Pin(pin);
  EXPECT_EQ(store->LookupPrefix(keys), 1u);  // below, and more recent than a
  store->Unpin(pin);
  EXPECT_TRUE(Hit(*store, a));
  EXPECT_TRUE(store->Flush(Soon()).ok());
  DumpAll(*store, c);
  EXPECT_TRUE(Hit(*store, a));
  EXPECT_FALSE(Hit(*store, b));
}

// All verbs at once over tiers with room for few: nothing wrong is served, nothing hangs.
TEST_F(StackedLoad, ServesManyThreads) {
  const auto store =
      Stack(Memory(4 * kBlockSum), Memory(12 * kBlockSum), {.queue_bytes = 2 * kSliceSum});
  std::vector<SampleBlock> samples;
  for (std::uint32_t seed = 0; seed < 20; ++seed) samples.emplace_back(seed);
  std::vector<int> wrong(4);
  const auto work = [&](std::size_t t) {
    for (std::size_t i = 0; i < 150; ++i) {
      const SampleBlock& block = samples[(i * (2 * t + 3) + t) % samples.size()];
      const BlockId ids[] = {block.id(), samples[i % samples.size()].id()};
      if (*store->Begin(block.key(), {})) {
        const TaskId task = *store->Dump(block.Writes());
        if (i % 11 == 0) store->Cancel(task);
        if (!Finish(*store, task).failures.empty()) store->Abandon(block.id());
      }
      const TaskId prefetch = *store->Prefetch(ids);
      if (i % 3 == 0) store->Cancel(prefetch);
      const Status loaded = LoadAll(*store, block);
      if (!loaded && loaded.error().code != ErrorCode::kNotFound) ++wrong[t];
      if (!Finish(*store, prefetch).failures.empty()) ++wrong[t];
      Hit(*store, block);
      if (i % 7 == 0) (void)store->Remove(block.id());
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < wrong.size(); ++t) threads.emplace_back(work, t);
  }
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
  const Status flushed = store->Flush(Soon());
  EXPECT_TRUE(flushed.ok()) << flushed.error().message;
  const StoreStats stats = store->Stats();
  EXPECT_EQ(stats.unwritten_bytes, 0u);
  EXPECT_EQ(stats.pending_tasks, 0u);
  EXPECT_LE(stats.tiers[0].bytes, stats.tiers[0].capacity_bytes);
  EXPECT_EQ(stats.quarantined_blocks, 0u);
}

}  // namespace
}  // namespace esa::testing
