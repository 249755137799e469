// Rows of f32 times weight rows as they lie in memory, for few rows.
// Include after one of vec_*.h.
//
// Each dot product has one vector accumulator, filled in the order of the columns: it is the same
// function of its two rows whatever is computed beside it. A panel of kDotRows weight rows comes
// from memory once; further rows of x find it in the cache.
#pragma once

#include "ops/kernels/kernels.h"

namespace esa {
namespace {

struct WeightF32 {
  using Value = float;
  static Floats All(const float* p) { return Load(p); }
  static Floats First(const float* p, std::int64_t count) { return LoadFirst(p, count, Zero()); }
};

struct WeightBf16 {
  using Value = std::uint16_t;
  static Floats All(const std::uint16_t* p) { return LoadBf16(p); }
  static Floats First(const std::uint16_t* p, std::int64_t count) {
    return LoadFirstBf16(p, count);
  }
};

struct WeightF16 {
  using Value = std::uint16_t;
  static Floats All(const std::uint16_t* p) { return LoadF16(p); }
  static Floats First(const std::uint16_t* p, std::int64_t count) { return LoadFirstF16(p, count); }
};

inline constexpr int kDotRows = 4;
// Where a chain of additions takes values as fast as memory gives them, one row of x meets one row
// of w at a time: a stream that the processor prefetches by itself (bf16, 896 columns, two threads:
// 25 GB/s in panels, 33 so).
inline constexpr bool kRowByRow = kLanes >= 16;

// Rows of w that are shorter lie in a page together, where the processor's own prefetching follows
// one stream only.
inline constexpr std::int64_t kShortRowBytes = 4096;

// kM rows of x from i0 on against kN rows of w. The first to come by asks for the panel after this
// one: short rows in the order of memory, others side by side as they are read.
template <class Weight, int kM, int kN, bool kFirst>
inline void DotBlock(const ProductTask& task, std::int64_t row, std::int64_t i0) {
  const std::int64_t cols = task.cols;
  const auto* w = static_cast<const typename Weight::Value*>(task.w) + row * cols;
  const float* x = task.x + i0 * cols;
  Floats acc[kM][kN];
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
    for (int n = 0; n < kN; ++n) acc[i][n] = Zero();
  }
  const bool are_short = cols * static_cast<std::int64_t>(sizeof(*w)) < kShortRowBytes;
  const auto* next = w + kN * cols;
  const std::int64_t next_stride = are_short ? kLanes : cols;
  const std::int64_t next_step = are_short ? kN * kLanes : kLanes;
  std::int64_t k = 0;
  for (; k + kLanes <= cols; k += kLanes) {
    Floats values[kN];
#pragma GCC unroll 8
    for (int n = 0; n < kN; ++n) {
      values[n] = Weight::All(w + n * cols + k);
      if constexpr (kFirst) Prefetch(next + n * next_stride);
    }
    if constexpr (kFirst) next += next_step;
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) {
      const Floats xi = Load(x + i * cols + k);
#pragma GCC unroll 8
      for (int n = 0; n < kN; ++n) acc[i][n] = MulAdd(values[n], xi, acc[i][n]);
    }
  }
  if (k < cols) {
    for (int i = 0; i < kM; ++i) {
      const Floats xi = LoadFirst(x + i * cols + k, cols - k, Zero());
      for (int n = 0; n < kN; ++n) {
        acc[i][n] = MulAdd(Weight::First(w + n * cols + k, cols - k), xi, acc[i][n]);
      }
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int n = 0; n < kN; ++n) {
      const float bias = task.bias != nullptr ? task.bias[row + n] : 0.0f;
      task.y[(i0 + i) * task.y_stride + row + n] = ReduceAdd(acc[i][n]) + bias;
    }
  }
}

// The rows of x from i on, of which fewer than four are left.
template <class Weight, int kN, bool kFirst>
inline void DotRest(const ProductTask& task, std::int64_t row, std::int64_t i) {
  switch (task.m - i) {
    case 3:
      return DotBlock<Weight, 3, kN, kFirst>(task, row, i);
    case 2:
      return DotBlock<Weight, 2, kN, kFirst>(task, row, i);
    case 1:
      return DotBlock<Weight, 1, kN, kFirst>(task, row, i);
  }
}

template <class Weight, int kN>
inline void DotPanel(const ProductTask& task, std::int64_t row) {
  if (task.m < 4) return DotRest<Weight, kN, true>(task, row, 0);
  DotBlock<Weight, 4, kN, true>(task, row, 0);
  std::int64_t i = 4;
  for (; i + 4 <= task.m; i += 4) DotBlock<Weight, 4, kN, false>(task, row, i);
  DotRest<Weight, kN, false>(task, row, i);
}

template <class Weight>
void MultiplyRows(const ProductTask& task) {
  std::int64_t row = task.row_begin;
  if (kRowByRow && task.m == 1) {
    for (; row < task.row_end; ++row) DotBlock<Weight, 1, 1, false>(task, row, 0);
    return;
  }
  for (; row + kDotRows <= task.row_end; row += kDotRows) {
    DotPanel<Weight, kDotRows>(task, row);
  }
  for (; row < task.row_end; ++row) DotPanel<Weight, 1>(task, row);
}

}  // namespace
}  // namespace esa
