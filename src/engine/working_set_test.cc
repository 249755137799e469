// Residency over the memory store: what is evicted, what is read, and what a store that fails
// leaves behind.
#include "engine/working_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"
#include "engine/testing/faulty_store.h"

namespace esa {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using State = SliceEntry::State;

constexpr KvGeometry kGeometry{
    .num_layers = 2, .num_kv_heads = 2, .slice = {.block_tokens = 2, .head_dim = 2}};
constexpr std::int64_t kBlocks = 8;  // of a sequence
constexpr std::int32_t kTokens[] = {1, 2};

BlockId IdOf(int sequence, std::int64_t block) {
  BlockId id;
  id.bytes[0] = static_cast<std::uint8_t>(sequence + 1);
  id.bytes[1] = static_cast<std::uint8_t>(block);
  return id;
}

std::byte ByteOf(int layer, int head, std::int64_t block) {
  return static_cast<std::byte>(1 + block * kGeometry.slices_per_block() +
                                kGeometry.slice_index(layer, head));
}

class WorkingSetTest : public testing::Test {
 protected:
  void SetUp() override { Open(8); }

  // A working set of `slots`; the sequences kept so far must have been finished.
  void Open(std::int64_t slots) {
    working_set_.reset();
    const BlockLayout layout{
        .block_tokens = std::size(kTokens),
        .num_slices = static_cast<std::uint32_t>(kGeometry.slices_per_block()),
        .slice_bytes = static_cast<std::uint64_t>(kGeometry.slice.slice_bytes()),
        .representation_bytes = 2 * sizeof(float)};
    auto inner = CreateBlockStore({.backend = "memory"}, layout);
    ASSERT_TRUE(inner.ok());
    store_ = std::make_unique<FaultyStore>(*std::move(inner));
    auto pool = SlicePool::Create(kGeometry.slice.slice_bytes(),
                                  static_cast<std::uint64_t>(slots * SliceBytes()));
    ASSERT_TRUE(pool.ok());
    pool_ = *std::move(pool);
    working_set_ =
        std::make_unique<WorkingSet>(pool_.get(), store_.get(), std::chrono::seconds(10));
    for (std::int64_t block = 0; block < kBlocks; ++block) cache_.id(block) = IdOf(0, block);
  }
  void TearDown() override {
    if (working_set_ != nullptr) working_set_->Finish(cache_);
    EXPECT_EQ(pool_->used_slots(), 0);
  }

  static std::int64_t SliceBytes() { return kGeometry.slice.slice_bytes(); }

  Status Create(int layer, int head, std::int64_t block) {
    Status created = working_set_->Create(cache_, layer, head, block);
    if (created) {
      std::fill_n(Slice(layer, head, block).slot.data(), SliceBytes(), ByteOf(layer, head, block));
    }
    return created;
  }

  void BeginBlock(std::int64_t block) {
    const auto opened = store_->Begin({.id = cache_.id(block), .tokens = kTokens}, {});
    ASSERT_TRUE(opened.ok() && *opened);
  }
  void DumpAndUnpin(int layer, std::int64_t block) {
    const float value = static_cast<float>(10 * block + layer);
    const float means[] = {value, value, value + 0.5f, value + 0.5f};  // [kv_heads, head_dim]
    working_set_->Dump(cache_, layer, block, means);
    for (int head = 0; head < 2; ++head) working_set_->Unpin(Slice(layer, head, block));
  }
  // As prefill does it; the dumps may still be under way.
  void ComputeBlock(std::int64_t block) {
    BeginBlock(block);
    for (int layer = 0; layer < 2; ++layer) {
      for (int head = 0; head < 2; ++head) ASSERT_TRUE(Create(layer, head, block).ok());
      DumpAndUnpin(layer, block);
    }
  }
  // Blocks 0 to count-1, dumped and none of them pinned. Least recently used: by block, layer and
  // head.
  void StoreBlocks(std::int64_t count) {
    for (std::int64_t block = 0; block < count; ++block) ComputeBlock(block);
    working_set_->DrainDumps();
  }

  SliceEntry& Slice(int layer, int head, std::int64_t block) {
    return cache_.At(layer, head, block);
  }
  bool Resident(int layer, int head, std::int64_t block) {
    return Slice(layer, head, block).state == State::kResident;
  }
  bool HasItsBytes(int layer, int head, std::int64_t block) {
    const SliceEntry& entry = Slice(layer, head, block);
    if (entry.state != State::kResident) return false;
    const std::byte* data = entry.slot.data();
    return std::all_of(data, data + SliceBytes(),
                       [&](std::byte byte) { return byte == ByteOf(layer, head, block); });
  }
  // Pins slices of one head, checks their bytes and unpins them.
  std::vector<BlockIndex> Use(int layer, int head, const std::vector<BlockIndex>& blocks) {
    std::vector<BlockIndex> failed = *working_set_->PinResident(cache_, layer, head, blocks);
    for (BlockIndex block : blocks) {
      if (std::ranges::count(failed, block) > 0) continue;
      EXPECT_TRUE(HasItsBytes(layer, head, block)) << layer << " " << head << " " << block;
      working_set_->Unpin(Slice(layer, head, block));
    }
    return failed;
  }

  std::unique_ptr<FaultyStore> store_;
  std::unique_ptr<SlicePool> pool_;
  std::unique_ptr<WorkingSet> working_set_;
  SequenceCache cache_{kGeometry, kBlocks};
};

TEST_F(WorkingSetTest, ANewSliceIsResidentAndPinnedOnce) {
  ASSERT_TRUE(Create(1, 0, 3).ok());
  EXPECT_TRUE(HasItsBytes(1, 0, 3));
  EXPECT_EQ(Slice(1, 0, 3).pins, 1u);
  EXPECT_EQ(pool_->used_slots(), 1);
  EXPECT_EQ(Slice(1, 1, 3).state, State::kAbsent);
}

TEST_F(WorkingSetTest, AFullPoolIsAnErrorThatHasTheBudget) {
  Open(2);
  ASSERT_TRUE(Create(0, 0, 0).ok() && Create(0, 1, 0).ok());
  const Status third = Create(1, 0, 0);
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(third.error().message, HasSubstr(std::to_string(2 * SliceBytes()) + " bytes"));
  EXPECT_EQ(Slice(1, 0, 0).state, State::kAbsent);
  EXPECT_EQ(pool_->used_slots(), 2);
}

TEST_F(WorkingSetTest, WithoutAStoreNothingIsEvicted) {
  WorkingSet alone(pool_.get(), nullptr, std::chrono::seconds(10));
  for (std::int64_t block = 0; block < 8; ++block) {
    ASSERT_TRUE(alone.Create(cache_, 0, 0, block).ok());
    alone.Unpin(Slice(0, 0, block));
  }
  EXPECT_FALSE(alone.Create(cache_, 0, 1, 0).ok());
  EXPECT_TRUE(Resident(0, 0, 0));
  alone.Finish(cache_);
}

TEST_F(WorkingSetTest, EvictsTheLeastRecentlyUsed) {
  StoreBlocks(2);  // fills the pool
  EXPECT_THAT(Use(0, 0, {0}), IsEmpty());
  ASSERT_TRUE(Create(0, 0, 2).ok());
  EXPECT_FALSE(Resident(0, 1, 0));
  ASSERT_TRUE(Create(0, 1, 2).ok());
  EXPECT_FALSE(Resident(1, 0, 0));
  for (const int layer : {0, 1}) {
    for (const int head : {0, 1}) EXPECT_TRUE(HasItsBytes(layer, head, 1));
  }
  EXPECT_TRUE(HasItsBytes(0, 0, 0));
  EXPECT_THAT(store_->reads(), IsEmpty());
}

TEST_F(WorkingSetTest, EvictsKeptSlicesWhenNothingElseIsLeft) {
  StoreBlocks(2);
  const BlockIndex kept[] = {0};
  EXPECT_EQ(working_set_->Keep(cache_, 0, kAllHeads, kept, 100).resident, 2);
  for (int head = 0; head < 2; ++head) {
    for (const std::int64_t block : {2, 3, 4}) ASSERT_TRUE(Create(0, head, block).ok());
  }
  EXPECT_TRUE(Resident(0, 0, 0) && Resident(0, 1, 0));
  EXPECT_FALSE(Resident(1, 1, 1));
  ASSERT_TRUE(Create(1, 0, 2).ok());
  EXPECT_NE(Resident(0, 0, 0), Resident(0, 1, 0));
}

TEST_F(WorkingSetTest, ANewSelectionLetsGoOfTheLastOne) {
  StoreBlocks(2);
  const BlockIndex first[] = {0}, second[] = {1};
  working_set_->Keep(cache_, 0, kAllHeads, first, 100);
  working_set_->Keep(cache_, 0, 1, second, 100);
  EXPECT_TRUE(Slice(0, 0, 0).kept);
  EXPECT_FALSE(Slice(0, 1, 0).kept);
  EXPECT_TRUE(Slice(0, 1, 1).kept);
}

TEST_F(WorkingSetTest, NeverEvictsWhatIsPinned) {
  StoreBlocks(2);
  const BlockIndex pinned[] = {0, 1};
  for (int head = 0; head < 2; ++head) {
    EXPECT_THAT(*working_set_->PinResident(cache_, 0, head, pinned), IsEmpty());
  }
  for (const std::int64_t block : {2, 3, 4, 5}) ASSERT_TRUE(Create(1, 0, block).ok());
  EXPECT_FALSE(Create(1, 0, 6).ok());
  for (const std::int64_t block : {0, 1}) {
    EXPECT_TRUE(HasItsBytes(0, 0, block) && HasItsBytes(0, 1, block));
  }
}

TEST_F(WorkingSetTest, LoadsOnlyWhatIsNotResident) {
  StoreBlocks(3);  // block 0 had to go
  ASSERT_FALSE(Resident(0, 0, 0));
  EXPECT_THAT(Use(0, 0, {0, 1, 2}), IsEmpty());
  ASSERT_EQ(store_->reads().size(), 1u);
  EXPECT_EQ(store_->reads()[0].id, cache_.id(0));
  EXPECT_EQ(store_->reads()[0].part, 0u);
  EXPECT_EQ(working_set_->counters().loaded_bytes, static_cast<std::uint64_t>(SliceBytes()));
  EXPECT_THAT(Use(0, 0, {0, 1, 2}), IsEmpty());
  EXPECT_EQ(store_->reads().size(), 1u);
}

TEST_F(WorkingSetTest, WhatIsKeptIsReadAhead) {
  StoreBlocks(3);
  const BlockIndex kept[] = {0, 2};
  EXPECT_EQ(working_set_->Keep(cache_, 1, kAllHeads, kept, 100).resident, 2);
  EXPECT_EQ(store_->reads().size(), 2u);
  EXPECT_EQ(store_->loads(), 1);  // the heads' slices follow each other on disk
  EXPECT_EQ(Slice(1, 0, 0).state, State::kLoading);
  EXPECT_THAT(working_set_->FinishLoads(cache_, 1), IsEmpty());
  EXPECT_TRUE(HasItsBytes(1, 0, 0) && HasItsBytes(1, 1, 0));
  EXPECT_EQ(store_->reads().size(), 2u);
}

TEST_F(WorkingSetTest, ASelectionIsUsedWhileItIsStillLoading) {
  StoreBlocks(3);
  const BlockIndex kept[] = {0};
  working_set_->Keep(cache_, 1, kAllHeads, kept, 100);
  ASSERT_EQ(Slice(1, 1, 0).state, State::kLoading);
  EXPECT_THAT(Use(1, 1, {0}), IsEmpty());
  EXPECT_EQ(store_->reads().size(), 2u);
}

TEST_F(WorkingSetTest, ReadingAheadEvictsNoKeptSlice) {
  StoreBlocks(3);
  const BlockIndex resident[] = {1, 2}, absent[] = {0};
  for (int layer = 0; layer < 2; ++layer) {
    EXPECT_EQ(working_set_->Keep(cache_, layer, kAllHeads, resident, 100).resident, 4);
  }
  SequenceCache other(kGeometry, kBlocks);
  for (std::int64_t block = 0; block < kBlocks; ++block) other.id(block) = cache_.id(block);
  other.At(0, 0, 0).durable = true;
  EXPECT_EQ(working_set_->Keep(other, 0, 0, absent, 100).resident, 0);
  EXPECT_THAT(store_->reads(), IsEmpty());
  // Where a layer is about to attend, room is made.
  EXPECT_THAT(working_set_->FinishLoads(other, 0), IsEmpty());
  EXPECT_EQ(other.At(0, 0, 0).state, State::kResident);
  working_set_->Finish(other);
}

TEST_F(WorkingSetTest, KeptSlicesThatWereEvictedComeBack) {
  StoreBlocks(2);
  const BlockIndex kept[] = {0};
  working_set_->Keep(cache_, 0, kAllHeads, kept, 100);
  for (std::int64_t block = 2; block < 6; ++block) {
    ASSERT_TRUE(Create(1, 0, block).ok() && Create(1, 1, block).ok());
  }
  ASSERT_FALSE(Resident(0, 0, 0) || Resident(0, 1, 0));
  working_set_->RestoreKept(cache_);
  EXPECT_THAT(store_->reads(), IsEmpty()) << "there is no room";
  working_set_->DropLayer(cache_, 1);
  working_set_->RestoreKept(cache_);
  EXPECT_EQ(store_->reads().size(), 2u);
  EXPECT_THAT(working_set_->FinishLoads(cache_, 0), IsEmpty());
  EXPECT_TRUE(HasItsBytes(0, 0, 0) && HasItsBytes(0, 1, 0));
}

TEST_F(WorkingSetTest, AFailedLoadIsReportedAndItsSlotReleased) {
  StoreBlocks(3);
  working_set_->DropLayer(cache_, 1);
  const std::int64_t used = pool_->used_slots();
  store_->fail_loads = true;
  EXPECT_THAT(Use(0, 0, {0, 1, 2}), ElementsAre(0));
  EXPECT_EQ(pool_->used_slots(), used);
  EXPECT_EQ(Slice(0, 0, 0).state, State::kAbsent);
  EXPECT_EQ(Slice(0, 0, 0).pins, 0u);
  EXPECT_EQ(working_set_->counters().failed_loads, 1);
  EXPECT_EQ(working_set_->counters().loaded_bytes, 0u);
}

TEST_F(WorkingSetTest, WhatFailedIsNotAskedForAgain) {
  StoreBlocks(3);
  store_->fail_loads = true;
  EXPECT_THAT(Use(0, 0, {0}), ElementsAre(0));
  store_->fail_loads = false;
  const BlockIndex kept[] = {0, 1};
  working_set_->Keep(cache_, 0, 0, kept, 100);
  EXPECT_THAT(working_set_->FinishLoads(cache_, 0), ElementsAre(0));
  EXPECT_THAT(Use(0, 0, {0, 1}), ElementsAre(0));
  EXPECT_EQ(std::ranges::count(store_->reads(), cache_.id(0), &SliceRead::id), 1);
}

TEST_F(WorkingSetTest, AFailedReadAheadNamesEachBlockOnce) {
  StoreBlocks(4);  // blocks 0 and 1 had to go
  working_set_->DropLayer(cache_, 0);
  store_->fail_loads = true;
  const BlockIndex kept[] = {0, 1, 2};
  working_set_->Keep(cache_, 1, kAllHeads, kept, 100);
  EXPECT_THAT(working_set_->FinishLoads(cache_, 1), ElementsAre(0, 1));
  EXPECT_EQ(working_set_->counters().failed_loads, 4);
}

TEST_F(WorkingSetTest, AStoreThatRefusesLoadsIsReportedToo) {
  StoreBlocks(3);
  const std::int64_t used = pool_->used_slots();
  store_->refuse_loads = true;
  const BlockIndex kept[] = {0};
  working_set_->Keep(cache_, 0, 0, kept, 100);
  EXPECT_THAT(working_set_->FinishLoads(cache_, 0), ElementsAre(0));
  EXPECT_EQ(working_set_->counters().failed_loads, 1);
  EXPECT_LE(pool_->used_slots(), used);
}

TEST_F(WorkingSetTest, AHungLoadIsCancelledBeforeItsSlotIsReleased) {
  StoreBlocks(3);
  store_->hang = true;
  EXPECT_THAT(Use(0, 0, {0}), ElementsAre(0));
  EXPECT_EQ(store_->cancelled_tasks(), 1);
  EXPECT_EQ(Slice(0, 0, 0).state, State::kAbsent);
  EXPECT_EQ(working_set_->counters().failed_loads, 1);
}

TEST_F(WorkingSetTest, SlicesWhoseDumpFailedStayAndTheErrorSaysWhy) {
  store_->fail_dumps = true;
  StoreBlocks(2);
  EXPECT_EQ(working_set_->counters().failed_dumps, 8);
  const Status more = Create(0, 0, 2);
  ASSERT_FALSE(more.ok());
  EXPECT_EQ(more.error().code, ErrorCode::kResourceExhausted);
  EXPECT_FALSE(working_set_->counters().first_dump_error.empty());
  EXPECT_THAT(more.error().message, HasSubstr(working_set_->counters().first_dump_error));
  EXPECT_TRUE(HasItsBytes(0, 0, 0) && HasItsBytes(1, 1, 1));
}

TEST_F(WorkingSetTest, AHungDumpIsAFailedOne) {
  store_->hang = true;
  BeginBlock(0);
  ASSERT_TRUE(Create(0, 0, 0).ok() && Create(0, 1, 0).ok());
  DumpAndUnpin(0, 0);
  working_set_->DrainDumps();
  EXPECT_EQ(store_->cancelled_tasks(), 1);
  EXPECT_EQ(working_set_->counters().failed_dumps, 2);
  EXPECT_FALSE(Slice(0, 0, 0).durable);
}

TEST_F(WorkingSetTest, CreateWaitsForADumpWhereThatMakesRoom) {
  Open(4);
  store_->stay_pending = true;
  ComputeBlock(0);
  EXPECT_FALSE(Slice(0, 0, 0).durable);
  ASSERT_TRUE(Create(0, 0, 1).ok());
  EXPECT_FALSE(Resident(0, 0, 0));
  EXPECT_TRUE(Resident(1, 0, 0));
}

TEST_F(WorkingSetTest, ASliceBeingDumpedIsNotEvicted) {
  store_->stay_pending = true;
  ComputeBlock(0);
  store_->stay_pending = false;
  EXPECT_EQ(Slice(1, 1, 0).pins, 1u);
  working_set_->DrainDumps();
  EXPECT_EQ(Slice(1, 1, 0).pins, 0u);
  EXPECT_TRUE(Slice(1, 1, 0).durable);
}

TEST_F(WorkingSetTest, MoreThanFitsIsSpilledAndComesBackAsItWas) {
  Open(3);  // fewer than a block has
  StoreBlocks(kBlocks);
  const auto all = static_cast<std::uint64_t>(kBlocks * kGeometry.slices_per_block());
  EXPECT_EQ(working_set_->counters().dumped_bytes, all * static_cast<std::uint64_t>(SliceBytes()));
  EXPECT_EQ(store_->Stats().blocks, static_cast<std::uint64_t>(kBlocks));
  for (BlockIndex block = 0; block < kBlocks; ++block) {
    for (int layer = 0; layer < 2; ++layer) {
      for (int head = 0; head < 2; ++head) EXPECT_THAT(Use(layer, head, {block}), IsEmpty());
    }
  }
  EXPECT_LE(pool_->peak_slots(), 3);
  EXPECT_EQ(working_set_->counters().failed_loads, 0);
}

TEST_F(WorkingSetTest, ADumpCarriesTheMeansOfItsHeads) {
  StoreBlocks(2);
  float means[8];  // [layers, kv_heads, head_dim]
  const auto task = store_->Load({{.id = cache_.id(1),
                                   .part = kRepresentations,
                                   .destination = reinterpret_cast<std::byte*>(means)}});
  ASSERT_TRUE(task.ok());
  const auto done = store_->Wait(*task, BlockStore::Deadline::max());
  ASSERT_TRUE(done.ok());
  EXPECT_THAT(done->failures, IsEmpty());
  EXPECT_THAT(means, ElementsAre(10, 10, 10.5f, 10.5f, 11, 11, 11.5f, 11.5f));
}

TEST_F(WorkingSetTest, SlicesThatDoNotFitTogetherAreRefusedTogether) {
  Open(3);
  StoreBlocks(5);
  const BlockIndex blocks[] = {0, 1, 2, 3, 4};
  const auto pinned = working_set_->PinResident(cache_, 0, 0, blocks);
  ASSERT_FALSE(pinned.ok());
  EXPECT_EQ(pinned.error().code, ErrorCode::kResourceExhausted);
  for (BlockIndex block : blocks) EXPECT_EQ(Slice(0, 0, block).pins, 0u);
  EXPECT_THAT(*working_set_->PinResident(cache_, 0, 0, std::span(blocks).first(3)), IsEmpty());
}

TEST_F(WorkingSetTest, DroppingALayerLeavesTheOthers) {
  StoreBlocks(2);
  const BlockIndex pinned[] = {0};
  EXPECT_THAT(*working_set_->PinResident(cache_, 0, 0, pinned), IsEmpty());
  working_set_->DropLayer(cache_, 0);
  EXPECT_EQ(pool_->used_slots(), 4);
  for (std::int64_t block = 0; block < 2; ++block) {
    EXPECT_FALSE(Resident(0, 0, block) || Resident(0, 1, block));
    EXPECT_TRUE(HasItsBytes(1, 0, block) && HasItsBytes(1, 1, block));
  }
}

TEST_F(WorkingSetTest, ALayerMayBeDroppedWhileItIsDumped) {
  store_->stay_pending = true;
  ComputeBlock(0);
  working_set_->DropLayer(cache_, 0);
  EXPECT_EQ(pool_->used_slots(), 2);
  working_set_->DrainDumps();
  EXPECT_EQ(store_->Stats().pending_tasks, 0u);
  EXPECT_EQ(Slice(0, 0, 0).pins, 0u);
}

TEST_F(WorkingSetTest, FinishEndsLoadsAndDumpsAndReleasesAll) {
  StoreBlocks(3);
  const BlockIndex blocks[] = {0, 1};
  working_set_->Keep(cache_, 0, 0, blocks, 100);
  EXPECT_THAT(*working_set_->PinResident(cache_, 1, 1, blocks), IsEmpty());
  store_->stay_pending = true;
  ComputeBlock(3);
  working_set_->Finish(cache_);
  EXPECT_EQ(pool_->used_slots(), 0);
  EXPECT_EQ(store_->Stats().pending_tasks, 0u);
}

TEST_F(WorkingSetTest, TwoSequencesShareTheBudgetAndNeverTheirBytes) {
  constexpr std::int64_t kSlots = 5;  // of 64 slices
  Open(kSlots);
  StoreBlocks(kBlocks);
  // The same blocks in a second table: as two requests with one prompt.
  SequenceCache other(kGeometry, kBlocks);
  for (std::int64_t block = 0; block < kBlocks; ++block) {
    other.id(block) = cache_.id(block);
    for (const int layer : {0, 1}) {
      for (const int head : {0, 1}) other.At(layer, head, block).durable = true;
    }
  }
  SplitMix64 random(3);
  SequenceCache* const caches[] = {&cache_, &other};
  for (int i = 0; i < 2000; ++i) {
    SequenceCache& cache = *caches[random.Below(2)];
    const int layer = static_cast<int>(random.Below(2));
    const int head = static_cast<int>(random.Below(2));
    const auto first = static_cast<BlockIndex>(random.Below(kBlocks - 1));
    const BlockIndex blocks[] = {first, first + 1};
    switch (random.Below(4)) {
      case 0:
        working_set_->Keep(cache, layer, head, blocks, 100);
        break;
      case 1:
        EXPECT_THAT(working_set_->FinishLoads(cache, layer), IsEmpty());
        break;
      case 2:
        working_set_->RestoreKept(cache);
        break;
      default:
        ASSERT_THAT(*working_set_->PinResident(cache, layer, head, blocks), IsEmpty()) << i;
        for (BlockIndex block : blocks) {
          SliceEntry& entry = cache.At(layer, head, block);
          ASSERT_EQ(*entry.slot.data(), ByteOf(layer, head, block)) << i;
          working_set_->Unpin(entry);
        }
    }
  }
  EXPECT_LE(pool_->peak_slots(), kSlots);
  working_set_->Finish(other);
}

}  // namespace
}  // namespace esa
