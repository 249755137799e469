#include "retrieval/retrieval_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <numeric>
#include <random>

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

TEST(RetrievalPoolTest, AScorerGetsEveryBlockOfALargeRequestOnce) {
  constexpr BlockIndex kBlocks = 30000;
  const RepresentationTable table = Ramp(1);
  std::vector<std::atomic<int>> calls(kBlocks);
  std::atomic<int> pieces = 0;
  const BlockScorer scorer = [&](const RepresentationView&, BlockRange range,
                                 const ScoreRows& scores) {
    ++pieces;
    EXPECT_EQ(scores.size, range.size());
    for (BlockIndex b = range.begin; b < range.end; ++b) {
      ++calls[static_cast<std::size_t>(b)];
      const auto at = static_cast<std::size_t>(b - range.begin);
      scores.row(0)[at] = static_cast<float>(b);
      scores.row(1)[at] = static_cast<float>(-b);
    }
  };
  RetrievalPool pool(2);
  const RetrievalRequest request = {
      .candidates = {7, kBlocks}, .k = 2, .num_scores = 2, .num_lists = 2, .scorer = &scorer};
  const BlockLists lists = pool.Collect(pool.Start(request, table.View(0, kBlocks)));
  ASSERT_EQ(lists.size(), 2u);
  EXPECT_THAT(lists[0], ElementsAre(kBlocks - 2, kBlocks - 1));
  EXPECT_THAT(lists[1], ElementsAre(7, 8));
  EXPECT_GT(pieces, 1);
  for (std::size_t b = 0; b < calls.size(); ++b) EXPECT_EQ(calls[b], b < 7 ? 0 : 1);
}

TEST(RetrievalPoolTest, AListIsChosenByTheBestOfItsRows) {
  const RepresentationTable table = Ramp(1);
  const BlockScorer scorer = [](const RepresentationView&, BlockRange range,
                                const ScoreRows& scores) {
    for (int r = 0; r < 4; ++r) {
      for (BlockIndex b = range.begin; b < range.end; ++b) {
        scores.row(r)[static_cast<std::size_t>(b - range.begin)] = b == 10 * r ? 1.0f : 0.0f;
      }
    }
  };
  RetrievalPool pool(1);
  const RetrievalRequest request = {
      .candidates = {0, 40}, .k = 2, .num_scores = 4, .num_lists = 2, .scorer = &scorer};
  const BlockLists lists = pool.Collect(pool.Start(request, table.View(0, 40)));
  EXPECT_THAT(lists, ElementsAre(ElementsAre(0, 10), ElementsAre(20, 30)));
}

TEST(RetrievalPoolTest, AChooserSeesAllScoresAndEmptyLists) {
  constexpr BlockIndex kBlocks = 20000;
  const RepresentationTable table = Ramp(kBlocks);
  const BlockChooser chooser = [&](const RepresentationView&, BlockRange candidates,
                                   const ScoreRows& scores,
                                   std::span<std::vector<BlockIndex>> lists) {
    EXPECT_EQ(candidates.size(), scores.size);
    ASSERT_EQ(lists.size(), 1u);
    EXPECT_THAT(lists[0], IsEmpty());
    const std::span<const float> row = scores.row(0);
    EXPECT_TRUE(std::is_sorted(row.begin(), row.end()));
    lists[0].push_back(candidates.begin + 4);
  };
  RetrievalPool pool(2);
  RetrievalRequest request = Request({100, kBlocks}, 3);
  EXPECT_EQ(CollectOne(pool, pool.Start(request, table.View(0, kBlocks))).size(), 3u);
  request.chooser = &chooser;
  EXPECT_THAT(CollectOne(pool, pool.Start(request, table.View(0, kBlocks))), ElementsAre(104));
}

TEST(RetrievalPoolTest, CollectHelpsWhileWorkersAreBusy) {
  const RepresentationTable table = Ramp(10);
  std::promise<void> begun;
  std::promise<void> release;
  const BlockScorer slow = [&](const RepresentationView&, BlockRange, const ScoreRows& scores) {
    begun.set_value();
    release.get_future().wait();
    scores.row(0)[0] = 1;
  };
  RetrievalPool pool(1);
  const RetrievalRequest blocked = {.candidates = {0, 1}, .k = 1, .scorer = &slow};
  const RetrievalTicket held = pool.Start(blocked, table.View(0, 10));
  begun.get_future().wait();
  EXPECT_THAT(CollectOne(pool, pool.Start(Request({0, 10}, 1), table.View(0, 10))), ElementsAre(9));
  release.set_value();
  EXPECT_THAT(CollectOne(pool, held), ElementsAre(0));
}

TEST(RetrievalPoolTest, MixedRequestsInAnyOrder) {
  constexpr BlockIndex kBlocks = 12000;
  const RepresentationTable table = Ramp(kBlocks);
  std::mt19937 engine(1);
  RetrievalPool pool(3);
  struct Pending {
    RetrievalTicket ticket;
    BlockRange range;
    std::int64_t k;
    bool up;
  };
  std::vector<Pending> pending;
  for (int i = 0; i < 300; ++i) {
    const bool large = engine() % 4 == 0;
    const auto begin = static_cast<BlockIndex>(engine() % 100);
    const auto end = begin + static_cast<BlockIndex>(engine() % (large ? kBlocks - 100 : 50));
    const bool up = engine() % 2 == 0;
    const auto k = static_cast<std::int64_t>(engine() % 60);
    pending.push_back(
        {pool.Start(Request({begin, end}, k, up ? kUp : kDown), table.View(0, kBlocks)),
         {begin, end},
         k,
         up});
    if (pending.size() < 5) continue;
    const auto chosen = pending.begin() + static_cast<std::ptrdiff_t>(engine() % pending.size());
    const Pending one = *chosen;
    pending.erase(chosen);
    if (engine() % 4 == 0) {
      pool.Drop(one.ticket);
      EXPECT_THAT(pool.Collect(one.ticket), IsEmpty());
      continue;
    }
    const std::int64_t size = std::min(one.k, one.range.size());
    std::vector<BlockIndex> expected(static_cast<std::size_t>(size));
    std::iota(expected.begin(), expected.end(),
              one.up ? one.range.end - static_cast<BlockIndex>(size) : one.range.begin);
    EXPECT_EQ(CollectOne(pool, one.ticket), expected);
  }
}

TEST(RetrievalPoolTest, DroppedWorkThatNobodyBeganIsNotDone) {
  const RepresentationTable table = Ramp(10);
  std::promise<void> begun;
  std::promise<void> release;
  const BlockScorer slow = [&](const RepresentationView&, BlockRange, const ScoreRows&) {
    begun.set_value();
    release.get_future().wait();
  };
  std::atomic<bool> scored = false;
  const BlockScorer never = [&](const RepresentationView&, BlockRange, const ScoreRows&) {
    scored = true;
  };
  {
    RetrievalPool pool(1);
    const RetrievalRequest blocked = {.candidates = {0, 1}, .k = 1, .scorer = &slow};
    const RetrievalRequest dropped = {.candidates = {0, 9}, .k = 1, .scorer = &never};
    const RetrievalTicket held = pool.Start(blocked, table.View(0, 10));
    begun.get_future().wait();
    pool.Drop(pool.Start(dropped, table.View(0, 10)));
    release.set_value();
    pool.Drop(held);
  }
  EXPECT_FALSE(scored);
}

TEST(RetrievalPoolTest, EndsWithLargeRetrievalsUnderWay) {
  constexpr BlockIndex kBlocks = 40000;
  const RepresentationTable table = Ramp(kBlocks);
  for (int i = 0; i < 10; ++i) {
    RetrievalPool pool(2);
    for (int j = 0; j < 3; ++j) pool.Start(Request({0, kBlocks}, 100), table.View(0, kBlocks));
  }
}

TEST(RetrievalPoolTest, EndsWithRetrievalsUncollected) {
  const RepresentationTable table = Ramp(100);
  RetrievalPool pool(2);
  for (int i = 0; i < 50; ++i) pool.Start(Request({0, 100}, 5), table.View(0, 100));
}

}  // namespace
}  // namespace esa
