#include "ops/retrieval_kernels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "base/check.h"
#include "base/random.h"
#include "ops/kernels/kernels.h"
#include "ops/numeric.h"

namespace esa {
namespace {

std::int64_t ValueBytes(RepresentationType type) {
  switch (type) {
    case RepresentationType::kF32:
      return 4;
    case RepresentationType::kBf16:
      return 2;
    case RepresentationType::kInt8:
      return 1;
  }
  return 0;
}

float Value(const ScoredRows& rows, std::int64_t row, std::int64_t i) {
  const std::int64_t at = row * rows.dim + i;
  switch (rows.type) {
    case RepresentationType::kF32:
      return static_cast<const float*>(rows.data)[at];
    case RepresentationType::kBf16:
      return FloatFromBf16(static_cast<const std::uint16_t*>(rows.data)[at]);
    case RepresentationType::kInt8:
      return static_cast<float>(static_cast<const std::int8_t*>(rows.data)[at]) * rows.scales[row];
  }
  return 0;
}

// Rounds a query to integers of at most 16 bits, so small that its product with a row of int8 does
// not overflow 32 bits, and returns their unit: not a number for a query that is not finite.
float RoundQuery(const float* query, std::int64_t dim, std::int16_t* rounded) {
  double largest = 0;
  double sum = 0;
  for (std::int64_t i = 0; i < dim; ++i) {
    const double magnitude = std::abs(double{query[i]});
    largest = std::max(largest, magnitude);
    sum += magnitude;
  }
  if (!std::isfinite(sum)) {
    std::fill_n(rounded, dim, std::int16_t{0});
    return std::numeric_limits<float>::quiet_NaN();
  }
  // Rounding adds at most a half to each value.
  const double most = (0x1p31 - 1) / 128 - 0.5 * static_cast<double>(dim);
  const double unit = std::max({largest / 32767, sum / most, 0x1p-149});
  for (std::int64_t i = 0; i < dim; ++i) {
    rounded[i] = static_cast<std::int16_t>(std::lrint(query[i] / unit));
  }
  return static_cast<float>(unit);
}

// Puts the task's queries into the form that rows of int8 are multiplied with.
void RoundQueries(DotRowsTask* task) {
  thread_local std::vector<std::int16_t> rounded;
  thread_local std::vector<float> units;
  const auto* queries = static_cast<const float*>(task->queries);
  const std::int64_t stride = (task->dim + kQueryPadding - 1) / kQueryPadding * kQueryPadding;
  rounded.assign(static_cast<std::size_t>(stride * task->num_queries), 0);
  units.resize(static_cast<std::size_t>(task->num_queries));
  for (int r = 0; r < task->num_queries; ++r) {
    units[static_cast<std::size_t>(r)] =
        RoundQuery(queries + r * task->dim, task->dim, rounded.data() + r * stride);
  }
  task->queries = rounded.data();
  task->query_stride = stride;
  task->query_scales = units.data();
}

}  // namespace

ScoredRows ScoredRows::From(std::int64_t first) const {
  return {.data = static_cast<const char*>(data) + first * dim * ValueBytes(type),
          .scales = scales == nullptr ? nullptr : scales + first,
          .type = type,
          .dim = dim};
}

void DotRows(const ScoredRows& rows, std::int64_t count, const float* queries, int num_queries,
             float* scores, std::int64_t stride, bool add) {
  DotRowsTask task = {.rows = rows.data,
                      .scales = rows.scales,
                      .dim = rows.dim,
                      .count = count,
                      .queries = queries,
                      .query_stride = rows.dim,
                      .num_queries = num_queries,
                      .scores = scores,
                      .stride = stride,
                      .add = add};
  const Kernels& kernels = CurrentKernels();
  switch (rows.type) {
    case RepresentationType::kF32:
      return kernels.dot_rows_f32(task);
    case RepresentationType::kBf16:
      return kernels.dot_rows_bf16(task);
    case RepresentationType::kInt8:
      RoundQueries(&task);
      return kernels.dot_rows_int8(task);
  }
}

void ReadScoredRow(const ScoredRows& rows, float* out) {
  for (std::int64_t i = 0; i < rows.dim; ++i) out[i] = Value(rows, 0, i);
}

void StoreRow(const float* values, std::int64_t dim, RepresentationType type, void* row,
              float* scale) {
  if (type == RepresentationType::kF32) {
    std::copy_n(values, dim, static_cast<float*>(row));
  } else if (type == RepresentationType::kBf16) {
    std::transform(values, values + dim, static_cast<std::uint16_t*>(row), Bf16FromFloat);
  } else {
    float largest = 0;
    for (std::int64_t i = 0; i < dim; ++i) largest = std::max(largest, std::abs(values[i]));
    *scale = largest / 127;
    const float factor = largest > 0 ? 127 / largest : 0;
    for (std::int64_t i = 0; i < dim; ++i) {
      static_cast<std::int8_t*>(row)[i] = static_cast<std::int8_t>(std::lrintf(values[i] * factor));
    }
  }
}

void LogSumExp(std::span<const float> terms, std::span<float> sums) {
  if (sums.empty()) return;
  CurrentKernels().log_sum_exp(terms.data(), static_cast<int>(terms.size() / sums.size()),
                               std::ssize(sums), sums.data());
}

void AddSoftMax(std::span<float> scores, float scale, std::span<float> sums) {
  ESA_CHECK(scores.size() == sums.size());
  CurrentKernels().add_soft_max(scores.data(), std::ssize(scores), scale, sums.data());
}

void AddSquareRoots(std::span<const float> values, float factor, std::span<float> scores) {
  CurrentKernels().add_square_roots(values.data(), std::ssize(values), factor, scores.data());
}

// Sums of twelve uniform numbers: near enough to Gaussian, and the same on every platform.
std::vector<float> CodeProjections(int code_bits, int head_dim) {
  SplitMix64 random(0x6573612d636f6465);
  std::vector<float> projections(static_cast<std::size_t>(code_bits) *
                                 static_cast<std::size_t>(head_dim));
  for (float& value : projections) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random.Next() >> 11) * 0x1p-53;
    value = static_cast<float>(sum);
  }
  return projections;
}

void MakeCode(const float* key, int head_dim, std::span<const float> projections,
              std::uint64_t* code) {
  MakeCodes(key, 1, head_dim, projections, code);
}

void MakeCodes(const float* keys, std::int64_t count, int head_dim,
               std::span<const float> projections, std::uint64_t* codes) {
  thread_local std::vector<float> products;
  const auto bits = static_cast<std::int64_t>(projections.size()) / head_dim;
  products.resize(static_cast<std::size_t>(count * bits));
  CurrentKernels().product_f32({.w = projections.data(),
                                .cols = head_dim,
                                .row_end = bits,
                                .x = keys,
                                .m = count,
                                .y = products.data(),
                                .y_stride = bits});
  for (std::int64_t w = 0; w < count * bits / 64; ++w) {
    std::uint64_t word = 0;
    for (std::int64_t b = 0; b < 64; ++b) {
      const bool positive = products[static_cast<std::size_t>(w * 64 + b)] > 0;
      word |= std::uint64_t{positive} << b;
    }
    codes[w] = word;
  }
}

void CodeMatches(const std::uint64_t* codes, std::int64_t count, int group, int words,
                 const std::uint64_t* queries, int num_queries, float* matches,
                 std::int64_t stride) {
  CurrentKernels().code_matches({.codes = codes,
                                 .count = count,
                                 .group = group,
                                 .words = words,
                                 .queries = queries,
                                 .num_queries = num_queries,
                                 .matches = matches,
                                 .stride = stride});
}

namespace {

// So many values are partitioned faster than counted.
constexpr std::int64_t kFewValues = 1024;
constexpr int kDigitBits = 11;

// The values among [values, values + count) whose upper bits are those of the `rank`-th largest, to
// `tied`, which may be the same memory. Takes from the rank what is larger.
std::int64_t KeepDigit(const std::uint32_t* values, std::int64_t count, int shift,
                       std::int64_t* rank, std::vector<std::uint32_t>* counts,
                       std::uint32_t* tied) {
  constexpr std::uint32_t kDigits = 1u << kDigitBits;
  counts->assign(2 * kDigits, 0);
  // Two tables in turn: equal digits in a row do not wait for each other's count.
  std::uint32_t* even = counts->data();
  std::uint32_t* odd = even + kDigits;
  const auto digit = [shift](std::uint32_t value) { return value >> shift & (kDigits - 1); };
  std::int64_t i = 0;
  for (; i + 2 <= count; i += 2) {
    ++even[digit(values[i])];
    ++odd[digit(values[i + 1])];
  }
  if (i < count) ++even[digit(values[i])];
  std::uint32_t chosen = kDigits - 1;
  for (; chosen > 0 && *rank > even[chosen] + odd[chosen]; --chosen) {
    *rank -= even[chosen] + odd[chosen];
  }
  std::int64_t kept = 0;
  const std::int64_t all = even[chosen] + odd[chosen];
  for (i = 0; kept < all; ++i) {
    const std::uint32_t value = values[i];
    tied[kept] = value;
    kept += static_cast<std::int64_t>(digit(value) == chosen);
  }
  return kept;
}

struct Threshold {
  std::uint32_t value = 0;  // of the k-th largest score
  std::int64_t equals = 0;  // how many of its equals are among the k
};

// Digit by digit from the top, as long as many values are left.
Threshold FindThreshold(std::int64_t k, TopKScratch* scratch) {
  std::int64_t rank = k;
  auto count = static_cast<std::int64_t>(scratch->order.size());
  scratch->tied.resize(scratch->order.size());
  std::uint32_t* tied = scratch->tied.data();
  const std::uint32_t* values = scratch->order.data();
  for (int shift = 32 - kDigitBits; count > kFewValues; shift -= kDigitBits) {
    count = KeepDigit(values, count, std::max(shift, 0), &rank, &scratch->counts, tied);
    values = tied;
    if (shift <= 0) return {.value = tied[0], .equals = rank};
  }
  if (values != tied) std::copy_n(values, count, tied);
  std::nth_element(tied, tied + (rank - 1), tied + count, std::greater<>());
  const std::uint32_t value = tied[rank - 1];
  const auto larger = std::count_if(tied, tied + (rank - 1), [=](auto o) { return o > value; });
  return {.value = value, .equals = rank - larger};
}

}  // namespace

// Finds the k-th largest score, then takes in one pass what is larger and as many of its equals,
// lowest index first, as there is room for.
void TopK(std::span<const float> scores, std::int64_t k, TopKScratch* scratch,
          std::vector<std::int32_t>* best) {
  const auto count = static_cast<std::int64_t>(scores.size());
  k = std::clamp<std::int64_t>(k, 0, count);
  best->clear();
  if (k == 0) return;
  scratch->order.resize(scores.size());
  CurrentKernels().order_of(scores.data(), count, scratch->order.data());
  const Threshold threshold = FindThreshold(k, scratch);
  best->resize(static_cast<std::size_t>(k + kTakePadding));
  CurrentKernels().take_largest({.values = scratch->order.data(),
                                 .count = count,
                                 .threshold = threshold.value,
                                 .equals = threshold.equals,
                                 .indices = best->data()});
  best->resize(static_cast<std::size_t>(k));
}

}  // namespace esa
