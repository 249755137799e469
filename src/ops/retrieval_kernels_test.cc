#include "ops/retrieval_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "ops/testing/isa_test.h"

namespace esa {
namespace {

class RetrievalKernelsTest : public IsaTest {};
ESA_TEST_EVERY_ISA(RetrievalKernelsTest);

TEST_P(RetrievalKernelsTest, DotRowsMatchesDouble) {
  RandomValues random(1);
  for (const std::int64_t dim : {1, 3, 8, 15, 64, 100, 128, 1024}) {
    for (const std::int64_t count : {0, 1, 3, 4, 7, 33}) {
      const std::vector<float> rows = random.Normal(dim * count);
      const std::vector<float> query = random.Normal(dim);
      std::vector<double> expected(static_cast<std::size_t>(count));
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] = std::inner_product(query.begin(), query.end(),
                                         rows.begin() + static_cast<std::ptrdiff_t>(i) * dim, 0.0);
      }
      std::vector<float> scores(expected.size());
      DotRows({.data = rows.data(), .dim = dim}, count, query.data(), 1, scores.data(), count,
              false);
      EXPECT_LT(RelativeError(scores, expected), 1e-5) << dim << " x " << count;
    }
  }
}

std::vector<std::int32_t> TopKBySorting(std::span<const float> scores, std::int64_t k) {
  std::vector<std::int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const float x = scores[static_cast<std::size_t>(a)];
    const float y = scores[static_cast<std::size_t>(b)];
    return std::isnan(y) ? !std::isnan(x) : x > y;
  });
  order.resize(static_cast<std::size_t>(std::min<std::int64_t>(k, std::ssize(order))));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<std::int32_t> TopKOf(std::span<const float> scores, std::int64_t k) {
  TopKScratch scratch;
  std::vector<std::int32_t> best = {-1};
  TopK(scores, k, &scratch, &best);
  return best;
}

TEST(TopK, MatchesASortForAnyK) {
  std::mt19937 engine(7);
  for (const int count : {0, 1, 2, 5, 64, 1000}) {
    for (const int distinct : {1, 3, 1000000}) {
      std::vector<float> scores(static_cast<std::size_t>(count));
      for (float& score : scores) {
        score = static_cast<float>(static_cast<int>(engine() % distinct) - distinct / 2);
        if (engine() % 16 == 0) score = std::numeric_limits<float>::quiet_NaN();
        if (engine() % 16 == 0) score = -0.0f;
        if (engine() % 32 == 0) score = engine() % 2 == 0 ? INFINITY : -INFINITY;
      }
      for (const int k : {0, 1, 2, count / 2, count - 1, count, count + 3}) {
        if (k < 0) continue;
        EXPECT_EQ(TopKOf(scores, k), TopKBySorting(scores, k)) << count << ' ' << k;
      }
    }
  }
}

TEST(TopK, EqualScoresGoToTheLowerIndexAndNanNeverWins) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> scores = {nan, 1, 2, -nan, 2, 0.0f, -0.0f, -INFINITY, 2};
  EXPECT_EQ(TopKOf(scores, 2), (std::vector<std::int32_t>{2, 4}));
  EXPECT_EQ(TopKOf(scores, 5), (std::vector<std::int32_t>{1, 2, 4, 5, 8}));
  EXPECT_EQ(TopKOf(scores, 7), (std::vector<std::int32_t>{1, 2, 4, 5, 6, 7, 8}));
  EXPECT_EQ(TopKOf(scores, 8), (std::vector<std::int32_t>{0, 1, 2, 4, 5, 6, 7, 8}));
}

}  // namespace
}  // namespace esa
