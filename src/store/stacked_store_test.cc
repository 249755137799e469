// What a stack does with dumps: behind, through, bounded, failing, hanging, and at its end.
#include "store/stacked_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/testing/scripted_stack.h"

namespace esa::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class StackedDump : public ScriptedStack {};

TEST_F(StackedDump, EndsWhenTheUpperTierHasIt) {
  const auto store = Stack(Memory(), Memory());
  const SampleBlock block(1);
  script_->Hang();
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(Hit(*store, block));
  EXPECT_TRUE(LoadAll(*store, block).ok());
  EXPECT_EQ(store->Stats().unwritten_bytes, kSliceSum);
  EXPECT_EQ(CodeOf(store->Flush(Shortly())), ErrorCode::kDeadlineExceeded);
  script_->LetGo();
  EXPECT_TRUE(store->Flush(Soon()).ok());
  EXPECT_EQ(store->Stats().unwritten_bytes, 0u);
  EXPECT_EQ(store->Stats().tiers.at(1).blocks, 1u);
  EXPECT_EQ(script_->writes(block.id()), 6u);
}

TEST_F(StackedDump, EndsWhenTheLowerTierHasItIfToldSo) {
  const auto store = Stack(Memory(), Memory(), {.write_through = true});
  const SampleBlock block(1);
  script_->Hang();
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  const TaskId task = *store->Dump(block.Writes());
  EXPECT_EQ(CodeOf(store->Wait(task, Shortly())), ErrorCode::kDeadlineExceeded);
  EXPECT_FALSE(store->Poll(task));
  EXPECT_FALSE(Hit(*store, block));
  script_->LetGo();
  EXPECT_THAT(Finish(*store, task).failures, IsEmpty());
  EXPECT_EQ(store->Stats().tiers.at(1).blocks, 1u);
  EXPECT_TRUE(LoadAll(*store, block).ok());
  EXPECT_EQ(script_->loads(), 0u) << "the upper tier has it too";
}

TEST_F(StackedDump, AFailureBelowIsOneOfTheTaskIfWrittenThrough) {
  const auto store = Stack(Memory(), Memory(), {.write_through = true});
  const SampleBlock block(1);
  script_->FailDumps(IoError("the disk is gone"));
  EXPECT_EQ(DumpAll(*store, block).failures.size(), 6u);
  EXPECT_FALSE(Hit(*store, block));
  store->Abandon(block.id());
  script_->FailDumps({});
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(StackedDump, GoesThroughBeyondTheBound) {
  const auto store = Stack(Memory(), Memory(), {.queue_bytes = 2 * kSliceSum});
  const SampleBlock a(1), b(2), c(3);
  script_->Hang();
  EXPECT_THAT(DumpAll(*store, a).failures, IsEmpty());
  EXPECT_THAT(DumpAll(*store, b).failures, IsEmpty());
  ASSERT_TRUE(*store->Begin(c.key(), {}));
  const TaskId task = *store->Dump(c.Writes());
  EXPECT_EQ(CodeOf(store->Wait(task, Shortly())), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(store->Stats().unwritten_bytes, 2 * kSliceSum);
  script_->LetGo();
  EXPECT_THAT(Finish(*store, task).failures, IsEmpty());
  EXPECT_TRUE(store->Flush(Soon()).ok());
  for (const SampleBlock* block : {&a, &b, &c}) EXPECT_TRUE(LoadAll(*store, *block).ok());
  EXPECT_EQ(script_->loads(), 0u);
  EXPECT_THAT(DumpAll(*store, SampleBlock(4)).failures, IsEmpty());
}

TEST_F(StackedDump, AFailureBehindIsKeptForFlushAndTheBlockServed) {
  const auto store = Stack(Memory(2 * kBlockSum), Memory());
  const SampleBlock block(1);
  script_->FailDumps(IoError("the disk is gone"));
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  const Status flushed = store->Flush(Soon());
  ASSERT_FALSE(flushed.ok());
  EXPECT_EQ(flushed.error().code, ErrorCode::kIoError);
  EXPECT_THAT(flushed.error().message, HasSubstr("the disk is gone"));
  EXPECT_TRUE(store->Flush(Soon()).ok()) << "told once";
  EXPECT_EQ(store->Stats().dump_failures, 6u);
  EXPECT_EQ(store->Stats().unwritten_bytes, 0u);
  EXPECT_TRUE(LoadAll(*store, block).ok());
  script_->FailDumps({});
  // Not pinned any more, and offered again once it is gone.
  for (std::uint32_t seed = 2; seed < 4; ++seed) DumpAll(*store, SampleBlock(seed));
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(store->Flush(Soon()).ok());
  EXPECT_EQ(store->Stats().tiers.at(1).blocks, 3u);
}

TEST_F(StackedDump, NeverEvictsAnUnwrittenBlock) {
  const auto store = Stack(Memory(2 * kBlockSum), Memory());
  const SampleBlock a(1), b(2), c(3);
  script_->Hang();
  DumpAll(*store, a);
  DumpAll(*store, b);
  ASSERT_TRUE(*store->Begin(c.key(), {}));
  const TaskId task = *store->Dump(c.Writes());
  EXPECT_EQ(CodeOf(store->Wait(task, Shortly())), ErrorCode::kDeadlineExceeded);
  EXPECT_TRUE(LoadAll(*store, a).ok());
  EXPECT_TRUE(LoadAll(*store, b).ok());
  script_->LetGo();
  EXPECT_THAT(Finish(*store, task).failures, IsEmpty());
  EXPECT_TRUE(store->Flush(Soon()).ok());
  for (const SampleBlock* block : {&a, &b, &c}) EXPECT_TRUE(LoadAll(*store, *block).ok());
  EXPECT_EQ(store->Stats().tiers.at(1).blocks, 3u);
}

TEST_F(StackedDump, LeavesNothingOfAnAbandonedBlock) {
  const auto store = Stack(Memory(kBlockSum), Memory(), {.queue_bytes = kSliceSum});
  for (std::uint32_t seed = 1; seed < 4; ++seed) {
    const SampleBlock block(seed);
    ASSERT_TRUE(*store->Begin(block.key(), {}));
    EXPECT_THAT(Finish(*store, store->Dump({block.Write(0)})).failures, IsEmpty());
    EXPECT_EQ(store->Stats().unwritten_bytes, 4096u) << seed;
    store->Abandon(block.id());
    EXPECT_EQ(store->Stats().unwritten_bytes, 0u);
    EXPECT_TRUE(*store->Begin(block.key(), {}));
    store->Abandon(block.id());
  }
}

TEST_F(StackedDump, BeginAsksBothTiers) {
  const SampleBlock stored(1), fresh(2), other(3);
  const auto store = StackOver({&stored});
  EXPECT_FALSE(*store->Begin(stored.key(), {}));
  EXPECT_EQ(CodeOf(store->Begin({stored.id(), other.key().tokens}, {})),
            ErrorCode::kInvalidArgument);
  script_->RefuseOptional();
  EXPECT_FALSE(*store->Begin(fresh.key(), {}, Admission::kOptional));
  EXPECT_TRUE(*store->Begin(fresh.key(), {}, Admission::kRequired));
  EXPECT_FALSE(*store->Begin(fresh.key(), {}, Admission::kRequired));
}

TEST_F(StackedDump, RemovesAnUnwrittenBlock) {
  const auto store = Stack(Memory(), Memory(), {.timeout = std::chrono::milliseconds(20)});
  const SampleBlock block(1);
  script_->Hang();
  DumpAll(*store, block);
  ASSERT_TRUE(script_->WaitForTasks(1));
  EXPECT_EQ(CodeOf(store->Remove(block.id())), ErrorCode::kDeadlineExceeded);
  script_->LetGo();
  (void)store->Flush(Soon());
  (void)store->Remove(block.id());
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_EQ(store->Stats().blocks, 0u);
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(store->Flush(Soon()).ok());
}

TEST_F(StackedDump, WritesWhatIsLeftAtItsEnd) {
  const TemporaryFolder folder;
  StoreConfig config;
  config.storage_backends = {folder.path() + "/a"};
  const auto chain = SampleChain(1, 20);
  for (const char* backend : {"memory|memory|posix", "posix"}) {
    config.backend = backend;
    const auto store = *CreateBlockStore(config, kSmallLayout);
    for (const SampleBlock& block : chain) {
      if (config.backend == "posix") {
        EXPECT_TRUE(LoadAll(*store, block).ok());
      } else {
        EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
      }
    }
  }
}

TEST_F(StackedDump, EndsInTimeOverATierThatHangs) {
  const SampleBlock stored(1), written(2);
  auto lower = Memory();
  DumpAll(*lower, stored);
  auto store = Stack(Memory(), std::move(lower), {.timeout = std::chrono::milliseconds(20)});
  script_->Hang();
  DumpAll(*store, written);
  PendingLoad load(stored);  // the tier may write to its buffer until it lets go
  const TaskId task = *store->Load(load.reads);
  EXPECT_EQ(CodeOf(store->Wait(task, Shortly())), ErrorCode::kDeadlineExceeded);
  const auto start = std::chrono::steady_clock::now();
  store.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  script_->LetGo();
  EXPECT_TRUE(script_->WaitForEnd());
}

TEST_F(StackedDump, ThreeTiersAreOneStore) {
  const TemporaryFolder folder;
  StoreConfig config;
  config.backend = "memory|memory|posix";
  config.storage_backends = {folder.path() + "/a"};
  config.capacity_bytes = 1u << 30;
  config.memory_bytes = 1u << 20;
  const auto store = *CreateBlockStore(config, kSmallLayout);
  const SampleBlock block(1);
  DumpAll(*store, block);
  EXPECT_TRUE(store->Flush(Soon()).ok());
  const StoreStats stats = store->Stats();
  EXPECT_EQ(stats.backend, config.backend);
  EXPECT_EQ(stats.capacity_bytes, 1u << 30);
  EXPECT_EQ(stats.unwritten_bytes, 0u);
  ASSERT_EQ(stats.tiers.size(), 3u);
  EXPECT_EQ(stats.tiers[0].capacity_bytes, 1u << 20);
  EXPECT_EQ(stats.tiers[2].backend, "posix");
  for (const StoreStats& tier : stats.tiers) EXPECT_EQ(tier.blocks, 1u) << tier.backend;
}

TEST_F(StackedDump, RefusesStacksThatAreNone) {
  StoreConfig config;
  const TemporaryFolder folder;
  config.storage_backends = {folder.path() + "/a"};
  for (const char* backend : {"memory|tape", "posix|posix", "memory||posix", "|posix", "memory|"}) {
    config.backend = backend;
    const auto store = CreateBlockStore(config, kSmallLayout);
    ASSERT_FALSE(store.ok()) << backend;
    EXPECT_EQ(store.error().code, ErrorCode::kInvalidArgument) << backend;
  }
}

}  // namespace
}  // namespace esa::testing
