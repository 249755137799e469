#include "retrieval/retrieval_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "retrieval/representation_table.h"

namespace esa {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Block b's mean keys are all `b`.
RepresentationTable Ramp(std::int64_t blocks) {
  const KvGeometry geometry = {
      .num_layers = 1, .num_kv_heads = 2, .slice = {.block_tokens = 2, .head_dim = 4}};
  RepresentationTable table(geometry, {}, blocks);
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::vector<float> mean(4, static_cast<float>(b));
    for (int head = 0; head < 2; ++head) table.SetMean(0, b, head, mean.data());
  }
  return table;
}

const std::vector<float> kUp(8, 1.0f);
const std::vector<float> kDown(8, -1.0f);

RetrievalRequest Request(BlockRange candidates, std::int64_t k,
                         const std::vector<float>& query = kUp) {
  return {.candidates = candidates, .k = k, .query = query};
}

// The one list of a request.
std::vector<BlockIndex> CollectOne(RetrievalPool& pool, RetrievalTicket ticket) {
  const BlockLists lists = pool.Collect(ticket);
  EXPECT_EQ(lists.size(), 1u);
  return lists.empty() ? std::vector<BlockIndex>{-1} : lists[0];
}

TEST(RetrievalPoolTest, ReturnsBestBlocksOfTheRangeSorted) {
  const RepresentationTable table = Ramp(10);
  RetrievalPool pool(2);
  const RetrievalTicket high = pool.Start(Request({2, 8}, 2), table.View(0, 10));
  const RetrievalTicket low = pool.Start(Request({2, 8}, 3, kDown), table.View(0, 10));
  EXPECT_THAT(CollectOne(pool, low), ElementsAre(2, 3, 4));
  EXPECT_THAT(CollectOne(pool, high), ElementsAre(6, 7));
}

TEST(RetrievalPoolTest, FewerCandidatesThanK) {
  const RepresentationTable table = Ramp(4);
  RetrievalPool pool(0);
  EXPECT_THAT(CollectOne(pool, pool.Start(Request({1, 3}, 9), table.View(0, 4))),
              ElementsAre(1, 2));
  EXPECT_THAT(CollectOne(pool, pool.Start(Request({3, 3}, 9), table.View(0, 4))), IsEmpty());
}

TEST(RetrievalPoolTest, UsesTheRequestsScorer) {
  const RepresentationTable table = Ramp(6);
  RetrievalPool pool(1);
  const BlockScorer scorer = [](const RepresentationView&, BlockRange range,
                                const ScoreRows& scores) {
    for (BlockIndex b = range.begin; b < range.end; ++b) {
      scores.row(0)[static_cast<std::size_t>(b - range.begin)] = b == 3 ? 1.0f : 0.0f;
    }
  };
  const RetrievalRequest request = {.candidates = {1, 6}, .k = 1, .scorer = &scorer};
  EXPECT_THAT(CollectOne(pool, pool.Start(request, table.View(0, 6))), ElementsAre(3));
}

TEST(RetrievalPoolTest, UnknownAndCollectedTicketsAreEmpty) {
  const RepresentationTable table = Ramp(4);
  RetrievalPool pool(1);
  EXPECT_THAT(pool.Collect(0), IsEmpty());
  const RetrievalTicket ticket = pool.Start(Request({0, 4}, 1), table.View(0, 4));
  EXPECT_THAT(CollectOne(pool, ticket), ElementsAre(3));
  EXPECT_THAT(pool.Collect(ticket), IsEmpty());
}

TEST(RetrievalPoolTest, EndsWithRetrievalsUncollected) {
  const RepresentationTable table = Ramp(100);
  RetrievalPool pool(2);
  for (int i = 0; i < 50; ++i) pool.Start(Request({0, 100}, 5), table.View(0, 100));
}

}  // namespace
}  // namespace esa
