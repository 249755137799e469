#include "retrieval/block_scores.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/retrieval_kernels.h"
#include "ops/testing/isa_test.h"

namespace esa {
namespace {

using Kind = ScoreRule::Kind;

struct Shape {
  int num_kv_heads = 2;
  std::int64_t num_blocks = 0;
  int parts = 1;
  int head_dim = 0;
  RepresentationType type = RepresentationType::kF32;
};

// Statistics of random content; every head has room for one block more than there are.
class Blocks {
 public:
  explicit Blocks(const Shape& shape) : shape_(shape) {
    const std::vector<float> mean = random_.Normal(Rows() * shape.head_dim);
    std::vector<float> spread = random_.Normal(Rows() * shape.head_dim, 0.5f);
    for (float& value : spread) value = std::abs(value);
    std::vector<float> lower = mean;
    std::vector<float> upper = mean;
    for (std::size_t i = 0; i < mean.size(); ++i) {
      lower[i] -= spread[i];
      upper[i] += spread[i];
    }
    view_ = {.mean = Keep(mean, 0),
             .variance = Keep(spread, 1),
             .lower = Keep(lower, 2),
             .upper = Keep(upper, 3),
             .value_mean = {},
             .codes = nullptr,
             .code_head_stride = 0,
             .code_words = 2,
             .num_blocks = shape.num_blocks,
             .parts = shape.parts,
             .part_tokens = 3,
             .block_tokens = 5,
             .num_kv_heads = shape.num_kv_heads,
             .head_dim = shape.head_dim};
    KeepCodes();
  }

  const RepresentationView& view() const { return view_; }
  std::vector<float> Query(int heads) { return random_.Normal(heads * shape_.head_dim); }

 private:
  struct Statistic {
    std::vector<std::byte> data;
    std::vector<float> scales;
  };

  std::int64_t Rows() const { return shape_.num_kv_heads * (shape_.num_blocks + 1) * shape_.parts; }

  RepresentationRows Keep(const std::vector<float>& values, std::size_t place) {
    Statistic& kept = statistics_[place];
    const auto dim = static_cast<std::size_t>(shape_.head_dim);
    const std::size_t value_bytes = shape_.type == RepresentationType::kF32    ? 4
                                    : shape_.type == RepresentationType::kBf16 ? 2
                                                                               : 1;
    kept.data.resize(values.size() * value_bytes);
    kept.scales.resize(values.size() / dim);
    for (std::size_t row = 0; row < kept.scales.size(); ++row) {
      StoreRow(values.data() + row * dim, shape_.head_dim, shape_.type,
               kept.data.data() + row * dim * value_bytes, &kept.scales[row]);
    }
    return {.data = kept.data.data(),
            .scales = kept.scales.data(),
            .head_stride = (shape_.num_blocks + 1) * shape_.parts,
            .type = shape_.type};
  }

  void KeepCodes() {
    const std::int64_t tokens = shape_.num_kv_heads * (shape_.num_blocks + 1) * view_.block_tokens;
    codes_.resize(static_cast<std::size_t>(tokens * view_.code_words));
    const std::vector<float> keys = random_.Normal(tokens * shape_.head_dim);
    MakeCodes(keys.data(), tokens, shape_.head_dim,
              CodeProjections(64 * view_.code_words, shape_.head_dim), codes_.data());
    view_.codes = codes_.data();
    view_.code_head_stride = (shape_.num_blocks + 1) * view_.block_tokens * view_.code_words;
  }

  Shape shape_;
  RandomValues random_{3};
  Statistic statistics_[4];
  std::vector<std::uint64_t> codes_;
  RepresentationView view_;
};

// One query head against one block, in double.
class Reference {
 public:
  Reference(const RepresentationView& view, const ScoreRule& rule) : view_(view), rule_(rule) {}

  double Score(BlockIndex block, int kv_head, const float* query) const {
    if (rule_.kind == Kind::kCodes) return Matches(block, kv_head, query);
    double largest = -std::numeric_limits<double>::infinity();
    double sum = 0;
    for (int part = 0; part < view_.parts; ++part) {
      const double score = PartScore(block, part, kv_head, query);
      largest = std::max(largest, score);
      sum += std::exp(score);
    }
    return rule_.kind == Kind::kLogMass ? std::log(sum) : largest;
  }

 private:
  // The sum over channels of term(value, query value).
  template <class Term>
  double Sum(const RepresentationRows& rows, BlockIndex block, int part, int kv_head,
             const float* query, Term term) const {
    std::vector<float> row(static_cast<std::size_t>(view_.head_dim));
    ReadRow(view_, rows, block, part, kv_head, row);
    double sum = 0;
    for (std::size_t i = 0; i < row.size(); ++i) sum += term(double{row[i]}, double{query[i]});
    return sum;
  }

  double PartScore(BlockIndex block, int part, int kv_head, const float* query) const {
    const auto sum = [&](const RepresentationRows& rows, auto term) {
      return Sum(rows, block, part, kv_head, query, term);
    };
    const double factor = rule_.factor;
    if (rule_.kind == Kind::kBounds) {
      return sum(view_.upper, [](double u, double q) { return q > 0 ? q * u : 0; }) +
             sum(view_.lower, [](double l, double q) { return q > 0 ? 0 : q * l; });
    }
    const double mean = sum(view_.mean, [](double m, double q) { return m * q; });
    const double variance = sum(view_.variance, [](double v, double q) { return q * q * v; });
    if (rule_.kind == Kind::kDeviation) return mean + factor * std::sqrt(variance);
    if (rule_.kind == Kind::kLogMass) {
      const double log_n = std::log(view_.part_tokens);
      const double v = factor * factor * variance;
      return factor * mean + (v > 2 * log_n ? std::sqrt(2 * v * log_n) : v / 2 + log_n);
    }
    return mean;
  }

  double Matches(BlockIndex block, int kv_head, const float* query) const {
    const int words = view_.code_words;
    std::vector<std::uint64_t> code(static_cast<std::size_t>(words));
    MakeCode(query, view_.head_dim, CodeProjections(64 * words, view_.head_dim), code.data());
    int most = 0;
    for (int token = 0; token < view_.block_tokens; ++token) {
      const std::uint64_t* key = view_.codes + kv_head * view_.code_head_stride +
                                 (std::int64_t{block} * view_.block_tokens + token) * words;
      int equal = 0;
      for (int w = 0; w < words; ++w) {
        equal += std::popcount(~(key[w] ^ code[static_cast<std::size_t>(w)]));
      }
      most = std::max(most, equal);
    }
    return most;
  }

  const RepresentationView& view_;
  const ScoreRule& rule_;
};

// [num_scores, range.size()]
std::vector<double> Expected(const RepresentationView& view, const RetrievalRequest& request,
                             BlockRange range) {
  const Reference reference(view, request.rule);
  std::vector<double> scores;
  for (int r = 0; r < request.num_scores; ++r) {
    for (BlockIndex block = range.begin; block < range.end; ++block) {
      double score = 0;
      for (int head = 0; head < view.num_kv_heads; ++head) {
        if (request.score_of == ScoreOf::kLayer) {
          const float* query =
              request.query.data() + (r * view.num_kv_heads + head) * view.head_dim;
          score += reference.Score(block, head, query);
        } else if (r / (request.num_scores / view.num_kv_heads) == head) {
          score = reference.Score(block, head, request.query.data() + r * view.head_dim);
        }
      }
      scores.push_back(score);
    }
  }
  return scores;
}

// Rows of scores lie further apart than they are long.
std::vector<float> Actual(const RepresentationView& view, const RetrievalRequest& request,
                          BlockRange range) {
  const std::int64_t stride = range.size() + 3;
  std::vector<float> memory(static_cast<std::size_t>(request.num_scores * stride), -7.0f);
  const ScoreRows rows = {.data = memory.data(), .stride = stride, .size = range.size()};
  ScoreBlocks(view, request, range, rows);
  std::vector<float> scores;
  for (int r = 0; r < request.num_scores; ++r) {
    const std::span<const float> row = rows.row(r);
    scores.insert(scores.end(), row.begin(), row.end());
    for (std::int64_t i = range.size(); i < stride; ++i) {
      EXPECT_EQ(memory[static_cast<std::size_t>(r * stride + i)], -7.0f) << "wrote beyond a row";
    }
  }
  return scores;
}

constexpr Kind kKinds[] = {Kind::kDot, Kind::kDeviation, Kind::kLogMass, Kind::kBounds,
                           Kind::kCodes};
constexpr RepresentationType kTypes[] = {RepresentationType::kF32, RepresentationType::kBf16,
                                         RepresentationType::kInt8};

class BlockScoresTest : public IsaTest {};
ESA_TEST_EVERY_ISA(BlockScoresTest);

TEST_P(BlockScoresTest, EveryRuleAndTypeMatchesDouble) {
  for (const RepresentationType type : kTypes) {
    for (const int parts : {1, 3}) {
      for (const int dim : {7, 64}) {
        Blocks blocks({.num_blocks = 41, .parts = parts, .head_dim = dim, .type = type});
        const std::vector<float> query = blocks.Query(6);
        for (const Kind kind : kKinds) {
          for (const ScoreOf score_of : {ScoreOf::kLayer, ScoreOf::kHead}) {
            const RetrievalRequest request = {.query = query,
                                              .score_of = score_of,
                                              .rule = {.kind = kind, .factor = 0.7f},
                                              .num_scores = score_of == ScoreOf::kHead ? 6 : 3};
            const BlockRange range = {5, 40};
            // Against rows of int8 a query is rounded to 16 bits.
            EXPECT_LT(RelativeError(Actual(blocks.view(), request, range),
                                    Expected(blocks.view(), request, range)),
                      type == RepresentationType::kInt8 ? 1e-4 : 1e-5)
                << "type " << static_cast<int>(type) << " parts " << parts << " dim " << dim
                << " rule " << static_cast<int>(kind) << " of " << static_cast<int>(score_of);
          }
        }
      }
    }
  }
}

TEST_P(BlockScoresTest, ManyTilesMatchDouble) {
  Blocks blocks({.num_blocks = 9001, .parts = 2, .head_dim = 4});
  const std::vector<float> query = blocks.Query(2);
  for (const Kind kind : kKinds) {
    const RetrievalRequest request = {.query = query, .rule = {.kind = kind}};
    EXPECT_LT(RelativeError(Actual(blocks.view(), request, {0, 9001}),
                            Expected(blocks.view(), request, {0, 9001})),
              1e-5);
  }
}

// A score must not depend on how workers share the blocks.
TEST_P(BlockScoresTest, SubRangesGiveTheSameBits) {
  for (const RepresentationType type : kTypes) {
    Blocks blocks({.num_blocks = 50, .parts = 3, .head_dim = 20, .type = type});
    const std::vector<float> query = blocks.Query(2);
    for (const Kind kind : kKinds) {
      const RetrievalRequest request = {.query = query, .rule = {.kind = kind}};
      const std::vector<float> all = Actual(blocks.view(), request, {0, 50});
      for (BlockIndex begin = 0; begin < 50; begin += 7) {
        const BlockRange range = {begin, std::min(begin + 7, 50)};
        const std::vector<float> some = Actual(blocks.view(), request, range);
        EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + begin))
            << "rule " << static_cast<int>(kind) << " type " << static_cast<int>(type);
      }
    }
  }
}

TEST_P(BlockScoresTest, NothingIsWrittenForNoBlocks) {
  Blocks blocks({.num_blocks = 3, .head_dim = 4});
  const std::vector<float> query = blocks.Query(2);
  EXPECT_TRUE(Actual(blocks.view(), {.query = query}, {2, 2}).empty());
}

}  // namespace
}  // namespace esa
