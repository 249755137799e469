#include "store/block_chains.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace esa {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

BlockId Id(std::uint8_t name) {
  BlockId id;
  id.bytes[0] = name;
  return id;
}

BlockInfo Block(std::uint8_t name, std::uint8_t parent) {
  BlockInfo block;
  block.id = Id(name);
  block.parent = Id(parent);
  return block;
}

std::vector<std::vector<std::uint64_t>> Places(const BlockChains& chains) {
  std::vector<std::vector<std::uint64_t>> places;
  for (const BlockChains::Place& place : chains.InOrder()) {
    places.push_back({place.block, place.depth, place.forks});
  }
  return places;
}

std::vector<std::size_t> Descendants(const BlockChains& chains, std::vector<std::size_t> first) {
  return chains.WithDescendants(first);
}

TEST(BlockChains, PutsABlockBehindItsParent) {
  // 1 <- 2 <- 3 and 2 <- 4 <- 5; 6 continues what is not stored.
  const std::vector<BlockInfo> blocks = {Block(3, 2), Block(6, 99), Block(1, 98),
                                         Block(2, 1), Block(5, 4),  Block(4, 2)};
  const BlockChains chains(blocks);
  EXPECT_THAT(Places(chains),
              ElementsAre(ElementsAre(1, 0, 0), ElementsAre(2, 0, 0), ElementsAre(3, 1, 0),
                          ElementsAre(0, 2, 1), ElementsAre(5, 2, 1), ElementsAre(4, 3, 1)));
  EXPECT_EQ(chains.starts(), 2u);
  EXPECT_EQ(chains.ends(), 3u);
  EXPECT_EQ(chains.longest(), 4u);
  EXPECT_THAT(Descendants(chains, {5}), ElementsAre(5, 4));
  EXPECT_THAT(Descendants(chains, {4, 3}), ElementsAre(3, 0, 5, 4));
  EXPECT_THAT(Descendants(chains, {}), IsEmpty());
}

TEST(BlockChains, TakesDamagedHeadersForStarts) {
  std::vector<BlockInfo> blocks = {Block(1, 2), Block(2, 1), Block(3, 3), Block(4, 1)};
  blocks.push_back(Block(5, 1));
  blocks.back().unreadable = "not a header";
  const BlockChains chains(blocks);
  EXPECT_EQ(chains.InOrder().size(), blocks.size());
  EXPECT_EQ(Descendants(chains, {0, 1, 2, 3, 4}).size(), blocks.size());
}

TEST(BlockChains, OfOneIdInTwoFoldersTheFirstIsContinued) {
  const std::vector<BlockInfo> blocks = {Block(1, 99), Block(1, 99), Block(2, 1)};
  EXPECT_THAT(Places(BlockChains(blocks)),
              ElementsAre(ElementsAre(0, 0, 0), ElementsAre(2, 1, 0), ElementsAre(1, 0, 0)));
}

TEST(BlockChains, ManyBlocksDeep) {
  std::vector<BlockInfo> blocks(200000);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto name = static_cast<std::uint32_t>(i);
    for (int byte = 0; byte < 4; ++byte) {
      blocks[i].id.bytes[byte] = static_cast<std::uint8_t>((name + 1) >> (8 * byte));
      blocks[i].parent.bytes[byte] = static_cast<std::uint8_t>(name >> (8 * byte));
    }
  }
  EXPECT_EQ(BlockChains(blocks).longest(), blocks.size());
}

}  // namespace
}  // namespace esa
