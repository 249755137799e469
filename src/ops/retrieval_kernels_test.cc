#include "ops/retrieval_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "ops/testing/isa_test.h"

namespace esa {
namespace {

class RetrievalKernelsTest : public IsaTest {};
ESA_TEST_EVERY_ISA(RetrievalKernelsTest);

constexpr RepresentationType kTypes[] = {RepresentationType::kF32, RepresentationType::kBf16,
                                         RepresentationType::kInt8};

// Rows as they are kept, and what they then mean.
struct StoredRows {
  StoredRows(const std::vector<float>& from, std::int64_t dim, RepresentationType type)
      : bytes(from.size() * sizeof(float)), scales(from.size() / static_cast<std::size_t>(dim)) {
    rows = {.data = bytes.data(), .scales = scales.data(), .type = type, .dim = dim};
    values.resize(from.size());
    for (std::size_t r = 0; r < scales.size(); ++r) {
      const auto at = static_cast<std::int64_t>(r);
      const ScoredRows row = rows.From(at);
      StoreRow(from.data() + at * dim, dim, type, const_cast<void*>(row.data), &scales[r]);
      ReadScoredRow(row, values.data() + at * dim);
    }
  }
  std::vector<std::byte> bytes;
  std::vector<float> scales;
  std::vector<float> values;
  ScoredRows rows;
};

double Dot(const float* a, const float* b, std::int64_t n) {
  return std::inner_product(a, a + n, b, 0.0);
}

// How far a product may be off in f32, or for a query rounded to 16 bits.
double Tolerance(RepresentationType type, const float* row, const float* query, std::int64_t dim) {
  double largest = 0;
  double row_sum = 0;
  double products = 0;
  for (std::int64_t i = 0; i < dim; ++i) {
    largest = std::max(largest, std::abs(double{query[i]}));
    row_sum += std::abs(double{row[i]});
    products += std::abs(double{row[i]} * query[i]);
  }
  const double rounding = type == RepresentationType::kInt8 ? largest / 32767 / 2 * row_sum : 0;
  return 1.001 * rounding + 2e-6 * products + 1e-6;
}

TEST_P(RetrievalKernelsTest, DotRowsMatchesDouble) {
  RandomValues random(1);
  for (const RepresentationType type : kTypes) {
    for (const std::int64_t dim : {1, 3, 8, 15, 33, 64, 100, 128, 1024}) {
      for (const std::int64_t count : {0, 1, 3, 4, 7, 33}) {
        const StoredRows stored(random.Normal(dim * count), dim, type);
        for (const int queries : {1, 2, 3, 4, 5, 8, 9}) {
          const std::vector<float> query = random.Normal(dim * queries);
          const std::int64_t stride = count + 2;
          const std::vector<float> before = random.Normal(queries * stride);
          for (const bool add : {false, true}) {
            std::vector<float> scores = before;
            DotRows(stored.rows, count, query.data(), queries, scores.data(), stride, add);
            for (std::int64_t at = 0; at < queries * stride; ++at) {
              const float old = before[static_cast<std::size_t>(at)];
              const float score = scores[static_cast<std::size_t>(at)];
              if (at % stride >= count) {
                ASSERT_EQ(score, old) << "wrote beyond a row of scores";
                continue;
              }
              const float* row = stored.values.data() + at % stride * dim;
              const float* q = query.data() + at / stride * dim;
              ASSERT_NEAR(score, Dot(row, q, dim) + (add ? old : 0.0f),
                          Tolerance(type, row, q, dim))
                  << static_cast<int>(type) << ": " << dim << " x " << count << " x " << queries;
            }
          }
        }
      }
    }
  }
}

// A row's values are off by half its unit at most, so is its product by that times the sum of the
// query's magnitudes.
TEST_P(RetrievalKernelsTest, Int8RowsAreWithinTheirRounding) {
  RandomValues random(2);
  for (const std::int64_t dim : {1, 64, 128}) {
    const std::vector<float> values = random.Normal(dim * 50);
    const StoredRows stored(values, dim, RepresentationType::kInt8);
    const std::vector<float> query = random.Normal(dim);
    double magnitude = 0;
    for (const float q : query) magnitude += std::abs(q);
    std::vector<float> scores(50);
    DotRows(stored.rows, 50, query.data(), 1, scores.data(), 50, false);
    for (std::size_t i = 0; i < 50; ++i) {
      const double exact =
          Dot(values.data() + static_cast<std::int64_t>(i) * dim, query.data(), dim);
      EXPECT_LT(std::abs(scores[i] - exact), stored.scales[i] * magnitude * 0.51) << dim;
    }
  }
}

TEST_P(RetrievalKernelsTest, Int8ProductsDoNotOverflow) {
  for (const std::int64_t dim : {100, 512, 4096}) {
    for (const float sign : {1.0f, -1.0f}) {
      const StoredRows stored(std::vector<float>(static_cast<std::size_t>(dim), sign * 127), dim,
                              RepresentationType::kInt8);
      const std::vector<float> query(static_cast<std::size_t>(dim), 3e30f);
      float score = 0;
      DotRows(stored.rows, 1, query.data(), 1, &score, 1, false);
      EXPECT_NEAR(score / (sign * 127 * 3e30f * static_cast<float>(dim)), 1, 1e-3) << dim;
    }
  }
}

TEST_P(RetrievalKernelsTest, QueriesThatAreNotFiniteGiveNoNumbers) {
  for (const RepresentationType type : kTypes) {
    const StoredRows stored(std::vector<float>(40, 1.0f), 8, type);
    std::vector<float> query(8, 1.0f);
    query[3] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> scores(5);
    DotRows(stored.rows, 5, query.data(), 1, scores.data(), 5, false);
    for (const float score : scores) EXPECT_TRUE(std::isnan(score));
    std::fill(query.begin(), query.end(), 0.0f);
    DotRows(stored.rows, 5, query.data(), 1, scores.data(), 5, false);
    EXPECT_EQ(scores, std::vector<float>(5, 0.0f));
  }
}

TEST_P(RetrievalKernelsTest, CodeMatchesCountsEqualBits) {
  std::mt19937_64 engine(5);
  for (const int words : {1, 2, 3, 4, 8}) {
    for (const int group : {1, 5, 8, 16}) {
      for (const int queries : {1, 3}) {
        constexpr int kCount = 6;
        std::vector<std::uint64_t> codes(static_cast<std::size_t>(kCount * group * words));
        std::vector<std::uint64_t> query(static_cast<std::size_t>(queries * words));
        std::generate(codes.begin(), codes.end(), std::ref(engine));
        std::generate(query.begin(), query.end(), std::ref(engine));
        std::copy_n(query.begin(), words, codes.end() - words);  // equal in every bit
        std::vector<float> expected;
        for (int r = 0; r < queries; ++r) {
          for (int i = 0; i < kCount; ++i) {
            int most = 0;
            for (int g = 0; g < group; ++g) {
              int equal = 0;
              for (int w = 0; w < words; ++w) {
                equal +=
                    std::popcount(~(codes[static_cast<std::size_t>((i * group + g) * words + w)] ^
                                    query[static_cast<std::size_t>(r * words + w)]));
              }
              most = std::max(most, equal);
            }
            expected.push_back(static_cast<float>(most));
          }
        }
        std::vector<float> matches(expected.size());
        CodeMatches(codes.data(), kCount, group, words, query.data(), queries, matches.data(),
                    kCount);
        EXPECT_EQ(matches, expected) << words << " words, groups of " << group;
        EXPECT_EQ(matches[kCount - 1], static_cast<float>(64 * words));
      }
    }
  }
}

TEST_P(RetrievalKernelsTest, CodesAreTheSignsOfProjections) {
  constexpr int kDim = 20;
  constexpr int kKeys = 7;
  const std::vector<float> projections = CodeProjections(128, kDim);
  const std::vector<float> keys = RandomValues(6).Normal(kKeys * kDim);
  std::vector<std::uint64_t> codes(kKeys * 2);
  MakeCodes(keys.data(), kKeys, kDim, projections, codes.data());
  for (int key = 0; key < kKeys; ++key) {
    std::uint64_t one[2] = {};
    MakeCode(keys.data() + key * kDim, kDim, projections, one);
    for (int b = 0; b < 128; ++b) {
      const double dot = Dot(keys.data() + key * kDim, projections.data() + b * kDim, kDim);
      const bool bit = (codes[static_cast<std::size_t>(key * 2 + b / 64)] >> (b % 64) & 1) != 0;
      EXPECT_TRUE(bit == (dot > 0) || std::abs(dot) < 1e-4);
      EXPECT_EQ(bit, (one[b / 64] >> (b % 64) & 1) != 0);
    }
  }
}

TEST_P(RetrievalKernelsTest, LogSumExpMatchesDouble) {
  RandomValues random(8);
  for (const int terms : {1, 2, 5, 64}) {
    for (const std::int64_t count : {1, 7, 16, 33}) {
      for (const float deviation : {0.01f, 1.0f, 200.0f}) {
        const std::vector<float> values = random.Normal(terms * count, deviation);
        std::vector<double> expected(static_cast<std::size_t>(count));
        for (std::int64_t i = 0; i < count; ++i) {
          double largest = -INFINITY;
          double sum = 0;
          const auto value = [&](int j) {
            return double{values[static_cast<std::size_t>(j * count + i)]};
          };
          for (int j = 0; j < terms; ++j) largest = std::max(largest, value(j));
          for (int j = 0; j < terms; ++j) sum += std::exp(value(j) - largest);
          expected[static_cast<std::size_t>(i)] = largest + std::log(sum);
        }
        std::vector<float> sums(static_cast<std::size_t>(count));
        LogSumExp(values, sums);
        EXPECT_LT(RelativeError(sums, expected), 5e-6) << terms << " x " << count;
      }
    }
  }
}

TEST_P(RetrievalKernelsTest, SharesOfSoftMaxAreAdded) {
  RandomValues random(11);
  for (const std::int64_t count : {1, 7, 16, 33, 200}) {
    for (const float deviation : {0.01f, 1.0f, 200.0f}) {
      std::vector<float> scores = random.Normal(count, deviation);
      const double largest = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (const float score : scores) total += std::exp(0.125 * (score - largest));
      std::vector<double> expected;
      for (const float score : scores) {
        expected.push_back(2.0 + std::exp(0.125 * (score - largest)) / total);
      }
      std::vector<float> sums(static_cast<std::size_t>(count), 2.0f);
      AddSoftMax(scores, 0.125f, sums);
      EXPECT_LT(RelativeError(sums, expected), 5e-6) << count;
    }
  }
}

TEST_P(RetrievalKernelsTest, SquareRootsAreAddedAndNegativesAreNone) {
  for (const std::int64_t count : {1, 7, 16, 33}) {
    const std::vector<float> values = RandomValues(9).Normal(count);
    std::vector<float> scores(static_cast<std::size_t>(count), 2.0f);
    std::vector<double> expected;
    for (const float value : values) {
      expected.push_back(2.0 - 1.5 * std::sqrt(std::max(double{value}, 0.0)));
    }
    AddSquareRoots(values, -1.5f, scores);
    EXPECT_LT(RelativeError(scores, expected), 1e-6);
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

TEST_P(RetrievalKernelsTest, TopKMatchesASortForAnyK) {
  std::mt19937 engine(7);
  for (const int count : {0, 1, 2, 5, 64, 1000, 5003}) {
    for (const int distinct : {1, 3, 200, 1000000}) {
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

// Values that agree in all but their last bits, so that every digit has to be looked at.
TEST_P(RetrievalKernelsTest, TopKTellsNeighboursApart) {
  std::mt19937 engine(11);
  std::vector<float> scores(20000);
  for (float& score : scores)
    score = std::bit_cast<float>(static_cast<std::uint32_t>(0x3f800000 + engine() % 4096));
  for (const int k : {1, 17, 4000, 19999}) EXPECT_EQ(TopKOf(scores, k), TopKBySorting(scores, k));
}

TEST_P(RetrievalKernelsTest, EqualScoresGoToTheLowerIndexAndNanNeverWins) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> scores = {nan, 1, 2, -nan, 2, 0.0f, -0.0f, -INFINITY, 2};
  EXPECT_EQ(TopKOf(scores, 2), (std::vector<std::int32_t>{2, 4}));
  EXPECT_EQ(TopKOf(scores, 5), (std::vector<std::int32_t>{1, 2, 4, 5, 8}));
  EXPECT_EQ(TopKOf(scores, 7), (std::vector<std::int32_t>{1, 2, 4, 5, 6, 7, 8}));
  EXPECT_EQ(TopKOf(scores, 8), (std::vector<std::int32_t>{0, 1, 2, 4, 5, 6, 7, 8}));
}

}  // namespace
}  // namespace esa
