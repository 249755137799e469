#include "retrieval/representation_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "ops/attention.h"

namespace esa {
namespace {

constexpr int kTokens = 10;
constexpr int kDim = 6;

KvGeometry Geometry() {
  return {.num_layers = 2,
          .num_kv_heads = 3,
          .slice = {.block_tokens = kTokens, .head_dim = kDim, .dtype = KvDtype::kF32}};
}

// A slice and what it was made of, [kTokens, kDim].
struct Slice {
  std::vector<float> keys;
  std::vector<float> values;
  std::vector<std::byte> bytes;
};

Slice RandomSlice(unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Slice slice;
  for (std::vector<float>* part : {&slice.keys, &slice.values}) {
    part->resize(kTokens * kDim);
    std::generate(part->begin(), part->end(), [&] { return normal(engine); });
  }
  const SliceLayout layout = Geometry().slice;
  slice.bytes.resize(static_cast<std::size_t>(layout.slice_bytes()));
  AppendToSlice(layout, slice.bytes.data(), 0, kTokens, slice.keys.data(), slice.values.data(),
                kDim);
  return slice;
}

float Mean(const std::vector<float>& values, int first, int end, int channel) {
  double sum = 0;
  for (int t = first; t < end; ++t) sum += values[static_cast<std::size_t>(t * kDim + channel)];
  return static_cast<float>(sum / (end - first));
}

std::vector<float> Row(const RepresentationView& view, const RepresentationRows& rows,
                       BlockIndex block, int part, int head) {
  std::vector<float> row(kDim);
  ReadRow(view, rows, block, part, head, row);
  return row;
}

TEST(RepresentationTable, DescribesThePartsOfTheRightSlice) {
  const RepresentationSpec spec = {
      .part_tokens = 4, .variance = true, .bounds = true, .value_mean = true};
  RepresentationTable table(Geometry(), spec, 5);
  const Slice slice = RandomSlice(1);
  const Slice other = RandomSlice(2);
  for (int block = 0; block < 5; ++block) {
    for (int head = 0; head < 3; ++head) {
      const bool here = block == 3 && head == 2;
      table.Seal(1, block, head, (here ? slice : other).bytes.data());
    }
  }
  const RepresentationView view = table.View(1, 4);
  ASSERT_EQ(view.parts, 3);
  EXPECT_EQ(view.num_blocks, 4);
  for (int part = 0; part < 3; ++part) {
    const int first = part * 4;
    const int end = std::min(first + 4, kTokens);  // the last part has two tokens
    for (int i = 0; i < kDim; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const float mean = Mean(slice.keys, first, end, i);
      std::vector<float> squares(slice.keys);
      float least = INFINITY;
      float largest = -INFINITY;
      for (int t = first; t < end; ++t) {
        const float key = slice.keys[static_cast<std::size_t>(t * kDim + i)];
        squares[static_cast<std::size_t>(t * kDim + i)] = (key - mean) * (key - mean);
        least = std::min(least, key);
        largest = std::max(largest, key);
      }
      EXPECT_NEAR(Row(view, view.mean, 3, part, 2)[at], mean, 1e-6);
      EXPECT_NEAR(Row(view, view.variance, 3, part, 2)[at], Mean(squares, first, end, i), 1e-6);
      EXPECT_EQ(Row(view, view.lower, 3, part, 2)[at], least);
      EXPECT_EQ(Row(view, view.upper, 3, part, 2)[at], largest);
      EXPECT_NEAR(Row(view, view.value_mean, 3, part, 2)[at], Mean(slice.values, first, end, i),
                  1e-6);
    }
  }
}

TEST(RepresentationTable, SmallerTypesKeepTheirPrecision) {
  const Slice slice = RandomSlice(3);
  RepresentationTable exact(Geometry(), {}, 2);
  RepresentationTable halves(Geometry(), {.type = RepresentationType::kBf16}, 2);
  RepresentationTable bytes(Geometry(), {.type = RepresentationType::kInt8}, 2);
  for (RepresentationTable* table : {&exact, &halves, &bytes}) {
    table->Seal(0, 1, 1, slice.bytes.data());
  }
  const auto mean = [](const RepresentationTable& table) {
    const RepresentationView view = table.View(0, 2);
    return Row(view, view.mean, 1, 0, 1);
  };
  const std::vector<float> expected = mean(exact);
  const float largest =
      std::abs(*std::max_element(expected.begin(), expected.end(),
                                 [](float a, float b) { return std::abs(a) < std::abs(b); }));
  for (std::size_t i = 0; i < kDim; ++i) {
    EXPECT_NEAR(mean(halves)[i], expected[i], std::abs(expected[i]) / 256);
    EXPECT_NEAR(mean(bytes)[i], expected[i], largest / 253);
  }
  EXPECT_EQ(exact.bytes(), 2u * 3 * 2 * kDim * 4);
  EXPECT_EQ(halves.bytes(), 2u * 3 * 2 * kDim * 2);
  EXPECT_EQ(bytes.bytes(), 2u * 3 * 2 * (kDim + 4));
}

TEST(RepresentationTable, AStoredMeanTakesThePlaceOfASliceWhereItIsAll) {
  RepresentationTable sealed(Geometry(), {}, 2);
  RepresentationTable stored(Geometry(), {}, 2);
  EXPECT_TRUE(stored.MeansAreAll());
  EXPECT_FALSE(RepresentationTable(Geometry(), {.bounds = true}, 2).MeansAreAll());
  EXPECT_FALSE(RepresentationTable(Geometry(), {.part_tokens = 5}, 2).MeansAreAll());
  const Slice slice = RandomSlice(4);
  std::vector<float> mean(kDim);
  MeanKey(Geometry().slice, slice.bytes.data(), 0, kTokens, mean.data());
  sealed.Seal(1, 1, 2, slice.bytes.data());
  stored.SetMean(1, 1, 2, mean.data());
  const RepresentationView a = sealed.View(1, 2);
  const RepresentationView b = stored.View(1, 2);
  EXPECT_EQ(Row(a, a.mean, 1, 0, 2), Row(b, b.mean, 1, 0, 2));
  EXPECT_EQ(Row(b, b.mean, 1, 0, 1), std::vector<float>(kDim, 0.0f));
}

TEST(RepresentationTable, CodesLieByHeadBlockAndToken) {
  RepresentationTable table(Geometry(), {.part_tokens = 5, .code_bits = 128}, 4);
  const Slice slice = RandomSlice(5);
  table.Seal(1, 2, 1, slice.bytes.data());
  const RepresentationView view = table.View(1, 4);
  ASSERT_EQ(view.code_words, 2);
  const std::uint64_t* codes = view.codes + view.code_head_stride + 2 * kTokens * 2;
  bool any_before = false;
  for (const std::uint64_t* word = view.codes; word < codes; ++word) any_before |= *word != 0;
  EXPECT_FALSE(any_before);
  // A key and its opposite differ in every bit.
  std::vector<float> opposite(slice.keys);
  for (float& value : opposite) value = -value;
  Slice mirrored = slice;
  AppendToSlice(Geometry().slice, mirrored.bytes.data(), 0, kTokens, opposite.data(),
                slice.values.data(), kDim);
  table.Seal(1, 3, 1, mirrored.bytes.data());
  for (int i = 0; i < kTokens * 2; ++i) EXPECT_EQ(codes[i], ~codes[kTokens * 2 + i]);
}

}  // namespace
}  // namespace esa
