#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "kv/block_hasher.h"
#include "kv/geometry.h"
#include "kv/slice_pool.h"

namespace esa {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr std::int64_t kSlot = 4096;

KvGeometry SmallGeometry() {
  KvGeometry geometry;
  geometry.num_layers = 2;
  geometry.num_kv_heads = 3;
  geometry.slice = {.block_tokens = 4, .head_dim = 8, .dtype = KvDtype::kBf16};
  return geometry;
}

BlockHasher MakeHasher(const KvGeometry& geometry = SmallGeometry(), const std::string& tenant = "",
                       std::uint8_t weights = 1) {
  const std::vector<std::uint8_t> fingerprint(32, weights);
  return BlockHasher(fingerprint, geometry, tenant);
}

std::vector<std::int32_t> Tokens(int count) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), 100);
  return tokens;
}

TEST(SliceLayout, IsPaddedToTheAlignment) {
  SliceLayout layout{.block_tokens = 128, .head_dim = 64, .dtype = KvDtype::kBf16};
  EXPECT_EQ(layout.tile_bytes(), 128 * 64 * 2);
  EXPECT_EQ(layout.slice_bytes(), 2 * 128 * 64 * 2);
  layout.dtype = KvDtype::kInt8;
  EXPECT_EQ(layout.slice_bytes(), 20 << 10);  // 16 KiB and a KiB of scales
  layout.dtype = KvDtype::kBf16;
  layout.head_dim = 66;
  EXPECT_GE(layout.slice_bytes(), 2 * layout.tile_bytes());
  EXPECT_EQ(layout.slice_bytes() % kSliceAlignment, 0);
}

TEST(KvGeometry, SlicesAreOrderedByLayerThenHead) {
  const KvGeometry geometry = SmallGeometry();
  EXPECT_EQ(geometry.slices_per_block(), 6);
  EXPECT_EQ(geometry.slice_index(0, 2), 2);
  EXPECT_EQ(geometry.slice_index(1, 0), 3);
}

TEST(BlockHasher, ChainIsNextAppliedToEveryFullBlock) {
  const BlockHasher hasher = MakeHasher();
  const auto tokens = Tokens(10);  // two blocks and a half
  const std::span<const std::int32_t> view(tokens);
  const BlockId first = hasher.Next(hasher.Root(), view.subspan(0, 4));
  const BlockId second = hasher.Next(first, view.subspan(4, 4));
  EXPECT_THAT(hasher.Chain(tokens), ElementsAre(first, second));
  EXPECT_THAT(hasher.Chain(view.first(8)), SizeIs(2));
  EXPECT_THAT(hasher.Chain(view.first(3)), SizeIs(0));
}

TEST(BlockHasher, AnIdCoversEveryTokenBeforeIt) {
  const BlockHasher hasher = MakeHasher();
  auto tokens = Tokens(12);
  const auto before = hasher.Chain(tokens);
  tokens[5] += 1;
  const auto after = hasher.Chain(tokens);
  EXPECT_EQ(before[0], after[0]);
  EXPECT_NE(before[1], after[1]);
  EXPECT_NE(before[2], after[2]);
}

TEST(BlockHasher, TheSameTokensElsewhereAreAnotherBlock) {
  const std::vector<std::int32_t> repeated(8, 7);
  const auto ids = MakeHasher().Chain(repeated);
  EXPECT_NE(ids[0], ids[1]);
}

TEST(BlockHasher, IsTheSameForTheSameSeed) {
  EXPECT_EQ(MakeHasher().Chain(Tokens(8)), MakeHasher().Chain(Tokens(8)));
}

TEST(BlockHasher, TenantsWeightsAndGeometryHaveTheirOwnIds) {
  const auto tokens = Tokens(8);
  std::vector<BlockHasher> hashers{MakeHasher(), MakeHasher(SmallGeometry(), "alice"),
                                   MakeHasher(SmallGeometry(), "bob"),
                                   MakeHasher(SmallGeometry(), "", 2)};
  KvGeometry geometry = SmallGeometry();
  geometry.num_layers = 3;
  hashers.push_back(MakeHasher(geometry));
  geometry = SmallGeometry();
  geometry.num_kv_heads = 1;
  hashers.push_back(MakeHasher(geometry));
  geometry = SmallGeometry();
  geometry.slice.head_dim = 16;
  hashers.push_back(MakeHasher(geometry));
  geometry = SmallGeometry();
  geometry.slice.dtype = KvDtype::kF32;
  hashers.push_back(MakeHasher(geometry));

  std::set<std::string> ids;
  for (const BlockHasher& hasher : hashers) ids.insert(hasher.Chain(tokens).back().Hex());
  EXPECT_THAT(ids, SizeIs(hashers.size()));
}

TEST(BlockId, HexIsLowerCaseAndFull) {
  BlockId id;
  id.bytes.fill(0xaf);
  EXPECT_EQ(id.Hex(), "afafafafafafafafafafafafafafafaf");
}

TEST(SlicePool, HoldsWhatTheBudgetHoldsAndNoMore) {
  auto pool = SlicePool::Create(kSlot, 3 * kSlot + 100);
  ASSERT_TRUE(pool.ok());
  EXPECT_EQ((*pool)->num_slots(), 3);
  std::vector<SliceSlot> slots;
  for (int i = 0; i < 3; ++i) {
    slots.push_back((*pool)->Allocate());
    ASSERT_TRUE(slots.back());
    std::memset(slots.back().data(), i, kSlot);
  }
  EXPECT_FALSE((*pool)->Allocate());
  for (int i = 0; i < 3; ++i) {
    const std::byte* data = slots[static_cast<std::size_t>(i)].data();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 4096, 0u);
    EXPECT_EQ(data[0], std::byte(i));
    EXPECT_EQ(data[kSlot - 1], std::byte(i));
  }
}

TEST(SlicePool, ABudgetBelowOneSlotIsAnError) {
  EXPECT_FALSE(SlicePool::Create(kSlot, kSlot - 1).ok());
}

TEST(SlicePool, AGivenBackSlotIsUsedAgain) {
  auto pool = SlicePool::Create(kSlot, kSlot);
  ASSERT_TRUE(pool.ok());
  SliceSlot slot = (*pool)->Allocate();
  const std::byte* data = slot.data();
  slot.Reset();
  slot.Reset();
  EXPECT_FALSE(slot);
  EXPECT_EQ((*pool)->used_slots(), 0);
  SliceSlot again = (*pool)->Allocate();
  EXPECT_EQ(again.data(), data);
}

TEST(SlicePool, PeakIsTheMostSinceTheLastReset) {
  auto pool = SlicePool::Create(kSlot, 4 * kSlot);
  ASSERT_TRUE(pool.ok());
  SliceSlot kept = (*pool)->Allocate();
  {
    SliceSlot second = (*pool)->Allocate();
    SliceSlot third = (*pool)->Allocate();
  }
  EXPECT_EQ((*pool)->used_slots(), 1);
  EXPECT_EQ((*pool)->peak_slots(), 3);
  (*pool)->ResetPeak();
  EXPECT_EQ((*pool)->peak_slots(), 1);
}

TEST(SliceSlot, MovesItsSlotAndReleasesTheOneItHeld) {
  auto pool = SlicePool::Create(kSlot, 2 * kSlot);
  ASSERT_TRUE(pool.ok());
  SliceSlot a = (*pool)->Allocate();
  SliceSlot b = (*pool)->Allocate();
  const std::byte* data = a.data();
  b = std::move(a);
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ((*pool)->used_slots(), 1);
  const SliceSlot c(std::move(b));
  EXPECT_TRUE(c);
  EXPECT_EQ((*pool)->used_slots(), 1);
}

}  // namespace
}  // namespace esa
