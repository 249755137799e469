#include "ops/attention.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "ops/numeric.h"
#include "ops/testing/isa_test.h"

namespace esa {
namespace {

// Every token in units of a 127th of its largest magnitude.
void RoundToInt8(std::int64_t dim, std::vector<float>* values) {
  for (auto row = values->begin(); row != values->end(); row += dim) {
    float largest = 0;
    for (std::int64_t i = 0; i < dim; ++i) largest = std::max(largest, std::abs(row[i]));
    const float unit = largest / 127;
    const float inverse = 1 / unit;
    for (std::int64_t i = 0; i < dim; ++i) row[i] = std::nearbyint(row[i] * inverse) * unit;
  }
}

// What is left of values when they are stored.
void RoundAs(KvDtype dtype, std::int64_t dim, std::vector<float>* values) {
  if (dtype == KvDtype::kInt8) return RoundToInt8(dim, values);
  if (dtype == KvDtype::kF32) return;
  for (float& x : *values) x = FloatFromBf16(Bf16FromFloat(x));
}

// The K and V of one KV head, as f32 and in slices whose unwritten bytes are NaN patterns.
class Context {
 public:
  Context(SliceLayout layout, int num_tokens, unsigned seed) : layout_(layout) {
    RandomValues random(seed);
    const std::int64_t dim = layout.head_dim;
    k_ = random.Normal(num_tokens * dim);
    v_ = random.Normal(num_tokens * dim);
    for (int at = 0; at < num_tokens; at += layout.block_tokens) {
      const int count = std::min(layout.block_tokens, num_tokens - at);
      const auto bytes = static_cast<std::size_t>(layout.slice_bytes());
      memory_.push_back(std::make_unique<std::byte[]>(bytes));
      std::byte* slice = memory_.back().get();
      std::memset(slice, 0xff, bytes);
      // In two pieces, so that pairs are also completed.
      const int first = count / 2;
      AppendToSlice(layout, slice, 0, first, &k_[Index(at)], &v_[Index(at)], dim);
      if (count > first) {
        AppendToSlice(layout, slice, first, count - first, &k_[Index(at + first)],
                      &v_[Index(at + first)], dim);
      }
      slices_.push_back({.data = slice, .first_position = at, .num_tokens = count});
    }
    RoundAs(layout.dtype, dim, &k_);
    RoundAs(layout.dtype, dim, &v_);
  }

  std::span<const SliceView> slices() const { return slices_; }

  // One query row over the tokens whose positions `attended` accepts.
  template <class Attended>
  void Reference(const float* q, float scale, Attended attended, std::vector<double>* out) const {
    const auto dim = static_cast<std::size_t>(layout_.head_dim);
    std::vector<double> weights;
    double max = -INFINITY;
    for (std::size_t t = 0; t < k_.size() / dim; ++t) {
      double score = -INFINITY;
      if (attended(static_cast<int>(t))) {
        score = 0;
        for (std::size_t i = 0; i < dim; ++i) {
          score += static_cast<double>(q[i]) * k_[t * dim + i];
        }
      }
      weights.push_back(score * static_cast<double>(scale));
      max = std::max(max, weights.back());
    }
    double sum = 0;
    for (double& weight : weights) sum += weight = std::exp(weight - max);
    for (std::size_t i = 0; i < dim; ++i) {
      double value = 0;
      for (std::size_t t = 0; t < weights.size(); ++t) value += weights[t] * v_[t * dim + i];
      out->push_back(value / sum);
    }
  }

 private:
  std::size_t Index(int token) const {
    return static_cast<std::size_t>(token) * static_cast<std::size_t>(layout_.head_dim);
  }

  SliceLayout layout_;
  std::vector<float> k_, v_;  // [num_tokens, head_dim], as the kernels see them
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  std::vector<SliceView> slices_;
};

// Relative to the largest output. bf16 dot products also round queries and probabilities, those of
// int8 to 16 bits.
double Tolerance(KvDtype dtype) {
  if (dtype == KvDtype::kF32) return 1e-5;
  if (dtype == KvDtype::kInt8) return CurrentIsa() == Isa::kScalar ? 1e-5 : 4e-4;
  return CurrentIsa() == Isa::kAvx512Bf16 ? 2e-2 : 1e-5;
}

// Without products of bf16 in the processor many rows meet bf16 tiles that are rounded to integers.
double RowsTolerance(KvDtype dtype) {
  const bool rounds = CurrentIsa() == Isa::kAvx2 || CurrentIsa() == Isa::kAvx512;
  return dtype == KvDtype::kBf16 && rounds ? 1e-3 : Tolerance(dtype);
}

constexpr KvDtype kDtypes[] = {KvDtype::kBf16, KvDtype::kF32, KvDtype::kInt8};

bool Possible(const SliceLayout& layout) {
  return layout.block_tokens % layout.pack() == 0 && layout.head_dim % layout.pack() == 0;
}

class AttentionTest : public IsaTest {};
ESA_TEST_EVERY_ISA(AttentionTest);

void CheckDecode(SliceLayout layout, int num_tokens, int group) {
  if (!Possible(layout)) return;
  const Context context(layout, num_tokens, static_cast<unsigned>(num_tokens));
  const std::vector<float> q = RandomValues(9).Normal(group * layout.head_dim, 2);
  const float scale = 1 / std::sqrt(static_cast<float>(layout.head_dim));
  std::vector<double> expected;
  for (int h = 0; h < group; ++h) {
    context.Reference(
        q.data() + h * layout.head_dim, scale, [](int) { return true; }, &expected);
  }
  ExpectSameForAnyThreads([&] {
    std::vector<float> out(expected.size(), NAN);
    const DecodeAttentionItem item = {q.data(), out.data(), context.slices()};
    DecodeAttention(layout, {&item, 1}, group, scale);
    EXPECT_LT(RelativeError(out, expected), Tolerance(layout.dtype))
        << layout.block_tokens << " tokens a block, head_dim " << layout.head_dim << ", "
        << num_tokens << " tokens, group " << group;
    return out;
  });
}

TEST_P(AttentionTest, DecodeMatchesDouble) {
  for (const KvDtype dtype : kDtypes) {
    for (const int head_dim : {2, 8, 16, 64, 80, 128}) {
      for (const int block_tokens : {2, 6, 16, 32, 64, 128}) {
        for (const int num_tokens : {1, 2, 3, 17, 127, 300}) {
          CheckDecode({block_tokens, head_dim, dtype}, num_tokens, num_tokens % 3 + 1);
        }
      }
    }
    for (const int group : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16})
      CheckDecode({64, 64, dtype}, 133, group);
    CheckDecode({16, 64, dtype}, 16 * kDecodeRun * 3 + 5, 7);
  }
}

TEST_P(AttentionTest, DecodeOfSeveralItemsEqualsEachAlone) {
  for (const KvDtype dtype : kDtypes) {
    const SliceLayout layout = {16, 64, dtype};
    const int group = 3;
    std::vector<std::unique_ptr<Context>> contexts;
    for (const int tokens : {5, 16 * 20, 16 * 40 + 3}) {
      contexts.push_back(std::make_unique<Context>(layout, tokens, 3));
    }
    const std::vector<float> q = RandomValues(4).Normal(4 * group * 64);
    std::vector<float> together(q.size(), NAN);
    std::vector<float> alone(q.size(), NAN);
    std::vector<DecodeAttentionItem> items;
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t at = i * group * 64;
      const auto slices = i < 3 ? contexts[i]->slices() : std::span<const SliceView>();
      items.push_back({q.data() + at, together.data() + at, slices});
      const DecodeAttentionItem item = {q.data() + at, alone.data() + at, slices};
      DecodeAttention(layout, {&item, 1}, group, 0.125f);
    }
    DecodeAttention(layout, items, group, 0.125f);
    EXPECT_EQ(together, alone);
    EXPECT_TRUE(std::all_of(together.end() - group * 64, together.end(), [](float x) {
      return x == 0;
    })) << "nothing attended gives zero";
  }
}

TEST_P(AttentionTest, DecodeSurvivesScoresFarApart) {
  for (const KvDtype dtype : kDtypes) {
    const SliceLayout layout = {16, 16, dtype};
    const Context context(layout, 100, 8);
    const std::vector<float> q = RandomValues(9).Normal(16, 300);
    std::vector<double> expected;
    context.Reference(
        q.data(), 1.0f, [](int) { return true; }, &expected);
    std::vector<float> out(16);
    const DecodeAttentionItem item = {q.data(), out.data(), context.slices()};
    DecodeAttention(layout, {&item, 1}, 1, 1.0f);
    EXPECT_LT(RelativeError(out, expected), dtype == KvDtype::kF32 ? 1e-3 : 2e-2);
  }
}

struct PrefillCase {
  int num_tokens;  // in the context; the last num_rows of them are the queries
  int num_rows;
  int group;
};

void CheckPrefill(SliceLayout layout, PrefillCase c) {
  if (!Possible(layout)) return;
  const Context context(layout, c.num_tokens, static_cast<unsigned>(c.num_tokens));
  const std::int64_t row_stride = (c.group + 1) * layout.head_dim;  // one head of another group
  const std::vector<float> q = RandomValues(9).Normal(c.num_rows * row_stride, 2);
  const float scale = 1 / std::sqrt(static_cast<float>(layout.head_dim));
  const int first = c.num_tokens - c.num_rows;
  std::vector<double> expected;
  for (int r = 0; r < c.num_rows; ++r) {
    for (int h = 0; h < c.group; ++h) {
      context.Reference(
          q.data() + r * row_stride + h * layout.head_dim, scale,
          [=](int t) { return t <= first + r; }, &expected);
    }
    expected.insert(expected.end(), static_cast<std::size_t>(layout.head_dim), 42.0);
  }
  ExpectSameForAnyThreads([&] {
    std::vector<float> out(q.size(), 42.0f);
    const PrefillAttentionItem item = {.q = q.data(),
                                       .out = out.data(),
                                       .row_stride = row_stride,
                                       .num_rows = c.num_rows,
                                       .first_position = first,
                                       .slices = context.slices()};
    PrefillAttention(layout, {&item, 1}, c.group, scale);
    EXPECT_LT(RelativeError(out, expected) * 42, RowsTolerance(layout.dtype) * 3)
        << layout.block_tokens << " tokens a block, head_dim " << layout.head_dim << ", "
        << c.num_tokens << " tokens, " << c.num_rows << " rows, group " << c.group;
    return out;
  });
}

TEST_P(AttentionTest, PrefillMatchesDouble) {
  for (const KvDtype dtype : kDtypes) {
    for (const int head_dim : {8, 16, 64, 80, 128}) {
      for (const int block_tokens : {16, 32, 64, 128}) {
        CheckPrefill({block_tokens, head_dim, dtype},
                     {.num_tokens = 71, .num_rows = 71, .group = 2});
        CheckPrefill({block_tokens, head_dim, dtype},
                     {.num_tokens = 150, .num_rows = 33, .group = 7});
      }
    }
    CheckPrefill({6, 10, dtype}, {.num_tokens = 29, .num_rows = 29, .group = 1});
    CheckPrefill({512, 64, dtype}, {.num_tokens = 700, .num_rows = 90, .group = 2});
    CheckPrefill({64, 64, dtype}, {.num_tokens = 400, .num_rows = 129, .group = 1});
    CheckPrefill({64, 64, dtype}, {.num_tokens = 65, .num_rows = 1, .group = 130});
  }
}

// Attention of the last of `k` and `v`'s tokens, one row that sees them all.
std::vector<float> LastRow(const SliceLayout& layout, const std::vector<float>& q,
                           const std::vector<float>& k, const std::vector<float>& v, float scale) {
  const auto tokens = static_cast<int>(std::ssize(k) / layout.head_dim);
  std::vector<std::byte> slice(static_cast<std::size_t>(layout.slice_bytes()), std::byte{0xff});
  AppendToSlice(layout, slice.data(), 0, tokens, k.data(), v.data(), layout.head_dim);
  const SliceView view = {.data = slice.data(), .first_position = 0, .num_tokens = tokens};
  std::vector<float> out(static_cast<std::size_t>(layout.head_dim));
  const PrefillAttentionItem item = {.q = q.data(),
                                     .out = out.data(),
                                     .row_stride = layout.head_dim,
                                     .num_rows = 1,
                                     .first_position = tokens - 1,
                                     .slices = {&view, 1}};
  PrefillAttention(layout, {&item, 1}, 1, scale);
  return out;
}

TEST_P(AttentionTest, SumsOfTheLargestProductsDoNotOverflow) {
  for (const KvDtype dtype : kDtypes) {
    for (const int head_dim : {64, 256}) {
      const SliceLayout layout = {256, head_dim, dtype};
      const std::size_t values = std::size_t{256} * static_cast<std::size_t>(head_dim);
      const std::vector<float> largest(values, 96.0f);
      const std::vector<float> q(static_cast<std::size_t>(head_dim), 3.0f);
      // All scores are equal, so the output is the mean of the values.
      for (const float x : LastRow(layout, q, largest, largest, 1.0f)) {
        EXPECT_NEAR(x, 96.0f, 0.1f) << head_dim << " dimensions";
      }
    }
  }
}

TEST_P(AttentionTest, WhatIsNoNumberStaysNone) {
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
    const SliceLayout layout = {32, 64, dtype};
    const std::vector<float> q = RandomValues(1).Normal(64);
    const std::vector<float> good = RandomValues(2).Normal(20 * 64);
    for (const float bad : {NAN, INFINITY}) {
      std::vector<float> spoiled = good;
      spoiled[7 * 64 + 5] = bad;
      const std::vector<float> of_keys = LastRow(layout, q, spoiled, good, 0.1f);
      const std::vector<float> of_values = LastRow(layout, q, good, spoiled, 0.1f);
      // A key that is infinite may have a weight of zero.
      if (std::isnan(bad)) {
        EXPECT_TRUE(std::isnan(of_keys[0]));
      }
      EXPECT_FALSE(std::isfinite(of_values[5]));
    }
  }
}

TEST_P(AttentionTest, AddressesDoNotMatter) {
  for (const KvDtype dtype : kDtypes) {
    const SliceLayout layout = {32, 64, dtype};
    const Context context(layout, 200, 2);
    const auto bytes = static_cast<std::size_t>(layout.slice_bytes());
    std::vector<std::byte> moved(bytes * context.slices().size() + 4);
    std::vector<SliceView> slices(context.slices().begin(), context.slices().end());
    for (std::size_t s = 0; s < slices.size(); ++s) {
      std::byte* to = moved.data() + 4 + (slices.size() - 1 - s) * bytes;
      std::memcpy(to, slices[s].data, bytes);
      slices[s].data = to;
    }
    const std::vector<float> q = RandomValues(3).Normal(7 * 64);
    std::vector<float> here(q.size());
    std::vector<float> there(q.size());
    const DecodeAttentionItem at_home = {q.data(), here.data(), context.slices()};
    const DecodeAttentionItem away = {q.data(), there.data(), slices};
    DecodeAttention(layout, {&at_home, 1}, 7, 0.125f);
    DecodeAttention(layout, {&away, 1}, 7, 0.125f);
    EXPECT_EQ(here, there);
  }
}

TEST(MeanKey, IsTheMeanOfWhatIsStored) {
  for (const KvDtype dtype : kDtypes) {
    const SliceLayout layout = {32, 8, dtype};
    for (const int tokens : {1, 7, 8, 31, 32}) {
      std::vector<float> k = RandomValues(1).Normal(tokens * 8);
      std::vector<std::byte> slice(static_cast<std::size_t>(layout.slice_bytes()), std::byte{0xff});
      AppendToSlice(layout, slice.data(), 0, tokens, k.data(), k.data(), 8);
      RoundAs(dtype, 8, &k);
      std::vector<double> expected(8);
      for (std::size_t i = 0; i < k.size(); ++i) {
        expected[i % 8] += static_cast<double>(k[i]) / tokens;
      }
      std::vector<float> mean(8);
      MeanKey(layout, slice.data(), 0, tokens, mean.data());
      EXPECT_LT(RelativeError(mean, expected), 1e-6);
    }
  }
}

TEST(SummarizeSlice, DescribesWhatIsStoredOfAnyRange) {
  constexpr int kTokens = 32;
  constexpr int kDim = 8;
  for (const KvDtype dtype : kDtypes) {
    const SliceLayout layout = {kTokens, kDim, dtype};
    RandomValues random(2);
    std::vector<float> k = random.Normal(kTokens * kDim);
    std::vector<float> v = random.Normal(kTokens * kDim);
    std::vector<std::byte> slice(static_cast<std::size_t>(layout.slice_bytes()), std::byte{0xff});
    AppendToSlice(layout, slice.data(), 0, kTokens, k.data(), v.data(), kDim);
    RoundAs(dtype, kDim, &k);
    RoundAs(dtype, kDim, &v);
    for (const int first : {0, 1, 6, 13}) {
      for (const int count : {1, 2, 7, 8, 15, 19}) {
        float out[5][kDim];
        SummarizeSlice(layout, slice.data(), first, count,
                       {out[0], out[1], out[2], out[3], out[4]});
        for (int i = 0; i < kDim; ++i) {
          double mean = 0, square = 0, value_mean = 0;
          float lower = INFINITY, upper = -INFINITY;
          for (int t = first; t < first + count; ++t) {
            const auto at = static_cast<std::size_t>(t * kDim + i);
            mean += double{k[at]} / count;
            square += double{k[at]} * k[at] / count;
            value_mean += double{v[at]} / count;
            lower = std::min(lower, k[at]);
            upper = std::max(upper, k[at]);
          }
          EXPECT_NEAR(out[0][i], mean, 1e-6);
          EXPECT_NEAR(out[1][i], square - mean * mean, 2e-6);
          EXPECT_EQ(out[2][i], lower);
          EXPECT_EQ(out[3][i], upper);
          EXPECT_NEAR(out[4][i], value_mean, 1e-6);
        }
        // What a store keeps and what a table makes are the same bits.
        float mean_key[kDim];
        MeanKey(layout, slice.data(), first, count, mean_key);
        EXPECT_TRUE(std::equal(mean_key, mean_key + kDim, out[0]));
      }
    }
  }
}

TEST(AppendToSlice, WritesTheDocumentedLayout) {
  const SliceLayout layout = {4, 2, KvDtype::kBf16};
  std::vector<std::byte> slice(static_cast<std::size_t>(layout.slice_bytes()), std::byte{0xff});
  const float k[] = {1, 2, 3, 4};
  const float v[] = {5, 6, 7, 8};
  AppendToSlice(layout, slice.data(), 1, 2, k, v, 2);
  std::vector<float> values;
  for (int i = 0; i < 16; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, slice.data() + 2 * i, 2);
    values.push_back(bits == 0xffff ? 0 : FloatFromBf16(bits));
  }
  const std::vector<float> expected = {0, 0, 1, 2, 3, 4, 0, 0,   // K [1][4][2]
                                       0, 5, 0, 6, 7, 0, 8, 0};  // V [2][2][2]
  EXPECT_EQ(values, expected);
}

}  // namespace
}  // namespace esa
