#include "store/block_index.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"

namespace esa {
namespace {

BlockId IdOf(std::uint64_t number) {
  BlockId id;
  id.bytes[0] = static_cast<std::uint8_t>(number);
  return id;
}

TEST(BlockIndex, TouchesAreSeenByOldest) {
  BlockIndex index;
  for (std::uint64_t i = 0; i < 3; ++i) {
    index.Put(IdOf(i), {10, static_cast<std::int64_t>(100 + i)});
  }
  EXPECT_TRUE(index.Touch(IdOf(0), {10, 200}));
  EXPECT_FALSE(index.Touch(IdOf(0), {10, 201}));
  EXPECT_EQ(index.Oldest(), IdOf(1));
  index.SetMarked(IdOf(0));
  EXPECT_TRUE(index.Touch(IdOf(0), {10, 50}));  // a stamp may fall, too
  EXPECT_EQ(index.Oldest(), IdOf(0));
  EXPECT_EQ(index.bytes(), 30u);
}

TEST(BlockIndex, OldestIsThatOfAPlainSearch) {
  BlockIndex index;
  struct Known {
    std::int64_t stamp_us = 0;
    int pins = 0;
    bool stored = false;
  };
  std::map<BlockId, Known> known;
  SplitMix64 random(7);
  for (std::int64_t step = 0; step < 20000; ++step) {
    const BlockId id = IdOf(random.Below(40));
    Known& entry = known[id];
    switch (random.Below(6)) {
      case 0:
        entry.stored = true;
        entry.stamp_us = static_cast<std::int64_t>(random.Below(1000)) * 100 + id.bytes[0];
        index.Put(id, {1, entry.stamp_us});
        break;
      case 1:
        entry.stored = false;
        index.Erase(id);
        break;
      case 2:
        ++entry.pins;
        index.Pin(id);
        break;
      case 3:
        if (entry.pins > 0) --entry.pins;
        index.Unpin(id);
        break;
      default:
        entry.stored = true;
        entry.stamp_us = step * 100 + id.bytes[0];
        index.Touch(id, {1, entry.stamp_us});
    }
    std::optional<BlockId> oldest;
    for (const auto& [other, value] : known) {
      if (!value.stored || value.pins > 0) continue;
      if (!oldest || value.stamp_us < known[*oldest].stamp_us) oldest = other;
    }
    ASSERT_EQ(index.Oldest(), oldest) << step;
  }
}

}  // namespace
}  // namespace esa
