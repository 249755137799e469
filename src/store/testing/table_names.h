// Names of files in a table of extents, for its tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "store/posix/extent_table.h"

namespace esa::testing {

inline PackedName Block(std::uint64_t number) {
  SplitMix64 random(number);
  BlockId id;
  for (std::uint8_t& byte : id.bytes) byte = static_cast<std::uint8_t>(random.Next());
  return {id, ".block"};
}
// The names that stand, each of which has a cell of its own.
inline std::vector<std::string> Names(ExtentTable& table) {
  std::vector<std::string> names;
  std::set<std::pair<std::uint64_t, std::uint64_t>> cells;
  const auto bytes = table.FirstBytes();
  EXPECT_TRUE(bytes.ok());
  for (const std::uint8_t byte : *bytes) {
    const auto listed = table.List(byte);
    for (const ListedFile& file : *listed) {
      const auto cell = table.Find(*PackedName::Parse(file.name));
      EXPECT_TRUE(cell.ok()) << file.name;
      if (!cell.ok()) continue;
      EXPECT_TRUE(cells.emplace(cell->serial, cell->offset).second) << file.name;
      EXPECT_TRUE(table.StillThere(*cell).ok()) << file.name;
      names.push_back(file.name);
    }
  }
  std::ranges::sort(names);
  return names;
}

inline std::vector<std::string> Sorted(const std::vector<PackedName>& names) {
  std::vector<std::string> texts;
  for (const PackedName& name : names) texts.push_back(name.Text());
  std::ranges::sort(texts);
  return texts;
}

}  // namespace esa::testing
