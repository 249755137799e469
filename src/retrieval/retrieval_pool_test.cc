#include "retrieval/retrieval_pool.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "retrieval/representation_table.h"

namespace esa {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Block b's mean keys are all `b`.
RepresentationTable Ramp(std::int64_t blocks) {
  RepresentationTable table(/*num_layers=*/1, /*num_kv_heads=*/2, /*head_dim=*/4, blocks);
  for (std::int64_t b = 0; b < blocks; ++b) {
    for (int head = 0; head < 2; ++head) std::fill_n(table.Mean(0, b, head), 4, 1.0f * b);
  }
  return table;
}

RetrievalRequest Request(BlockRange candidates, std::int64_t k, float sign) {
  return {.candidates = candidates, .k = k, .query = std::vector<float>(8, sign), .scorer = {}};
}

TEST(RetrievalPoolTest, ReturnsBestBlocksOfTheRangeSorted) {
  const RepresentationTable table = Ramp(10);
  RetrievalPool pool(2);
  const RetrievalTicket high = pool.Start(Request({2, 8}, 2, 1.0f), table.View(0, 10));
  const RetrievalTicket low = pool.Start(Request({2, 8}, 3, -1.0f), table.View(0, 10));
  EXPECT_THAT(pool.Collect(low), ElementsAre(2, 3, 4));
  EXPECT_THAT(pool.Collect(high), ElementsAre(6, 7));
}

TEST(RetrievalPoolTest, FewerCandidatesThanK) {
  const RepresentationTable table = Ramp(4);
  RetrievalPool pool(0);
  EXPECT_THAT(pool.Collect(pool.Start(Request({1, 3}, 9, 1.0f), table.View(0, 4))),
              ElementsAre(1, 2));
  EXPECT_THAT(pool.Collect(pool.Start(Request({3, 3}, 9, 1.0f), table.View(0, 4))), IsEmpty());
}

TEST(RetrievalPoolTest, UsesTheRequestsScorer) {
  const RepresentationTable table = Ramp(6);
  RetrievalPool pool(1);
  RetrievalRequest request{.candidates = {1, 6}, .k = 1, .query = {}, .scorer = {}};
  request.scorer = [](const RepresentationView&, BlockRange range, std::span<float> scores) {
    scores[static_cast<std::size_t>(3 - range.begin)] = 1.0f;
  };
  EXPECT_THAT(pool.Collect(pool.Start(request, table.View(0, 6))), ElementsAre(3));
}

TEST(RetrievalPoolTest, UnknownAndCollectedTicketsAreEmpty) {
  const RepresentationTable table = Ramp(4);
  RetrievalPool pool(1);
  EXPECT_THAT(pool.Collect(0), IsEmpty());
  const RetrievalTicket ticket = pool.Start(Request({0, 4}, 1, 1.0f), table.View(0, 4));
  EXPECT_THAT(pool.Collect(ticket), ElementsAre(3));
  EXPECT_THAT(pool.Collect(ticket), IsEmpty());
}

TEST(RetrievalPoolTest, EndsWithRetrievalsUncollected) {
  const RepresentationTable table = Ramp(100);
  RetrievalPool pool(2);
  for (int i = 0; i < 50; ++i) pool.Start(Request({0, 100}, 5, 1.0f), table.View(0, 100));
}

}  // namespace
}  // namespace esa
