// Rows of int8 activations times panels of int8 or int4 weights, and the conversions around it.
// Include after one of vec_*.h.
//
// Integer products of a group are exact; they are scaled and added up in f32, each dot product in
// one lane in the order of the groups, so that it is the same function of its two rows whatever is
// computed beside it. Weights are one stream: on AVX2 rows of 896 values as they lie in memory,
// four at a time, came at 7 GB/s on one thread.
#pragma once

#include "ops/kernels/kernels.h"
#include "ops/kernels/largest.inl.h"

namespace esa {
namespace {

// The sums of one group's products, a lane for each row of the panel.
struct Int8Panel {
  static constexpr std::int64_t kGroupBytes = kPanelRows * kGroupValues;
  static RowInts Dot(const std::byte* w, const std::int8_t* x, std::int32_t sum) {
    return DotInt8Group(w, x, sum);
  }
};

struct Int4Panel {
  static constexpr std::int64_t kGroupBytes = kPanelRows * kGroupValues / 2;
  static RowInts Dot(const std::byte* w, const std::int8_t* x, std::int32_t sum) {
    return DotInt4Group(w, x, -8 * sum);
  }
};

// kM rows of x from i0 on against one panel; the first to come by asks for what is read next.
template <class Panel, int kM, bool kFirst>
inline void MultiplyPanel(const PanelProductTask& task, const std::byte* panel, std::int64_t n,
                          std::int64_t i0) {
  // What is asked for is little ahead: the processor's own prefetching goes further, but follows
  // one stream. So scales are read in their place before the values, and asked for among them (int8
  // on one thread: 19 GB/s without the reading, 29 with; int4 14 without the asking, 30).
  constexpr std::int64_t kAhead = 1024;
  constexpr std::int64_t kGroupsOfScaleLine = kPanelAlignment / (2 * kPanelRows);
  const std::byte* ahead = panel + kAhead;
  if constexpr (kFirst) {
    for (std::int64_t at = 0; at < PanelScaleBytes(task.groups); at += kPanelAlignment) {
      static_cast<void>(*reinterpret_cast<const volatile std::byte*>(panel + at));
    }
  }
  const auto* scales = reinterpret_cast<const std::uint16_t*>(panel);
  const std::byte* values = panel + PanelScaleBytes(task.groups);
  const std::int64_t stride = task.groups * kGroupValues;
  RowFloats acc[kM];
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) acc[i] = ZeroRows();
  for (std::int64_t g = 0; g < task.groups; ++g) {
    const RowFloats w_scale = LoadRowScales(scales + g * kPanelRows);
    if constexpr (kFirst) {
#pragma GCC unroll 8
      for (std::int64_t at = 0; at < Panel::kGroupBytes; at += kPanelAlignment) {
        Prefetch(ahead + at);
      }
      ahead += Panel::kGroupBytes;
      if (g % kGroupsOfScaleLine == 0) {
        Prefetch(ahead);
        ahead += kPanelAlignment;
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) {
      const std::int64_t at = (i0 + i) * task.groups + g;
      const RowInts dots =
          Panel::Dot(values, task.x + (i0 + i) * stride + g * kGroupValues, task.x_sums[at]);
      acc[i] = MulAddRows(dots, w_scale, task.x_scales[at], acc[i]);
    }
    values += Panel::kGroupBytes;
  }
  const std::int64_t count = task.rows - n;
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
    const float* bias = task.bias != nullptr ? task.bias + n : nullptr;
    StoreRows(task.y + (i0 + i) * task.y_stride + n, count, acc[i], bias);
  }
}

template <class Panel>
void MultiplyPanels(const PanelProductTask& task) {
  for (std::int64_t p = task.panel_begin; p < task.panel_end; ++p) {
    const std::byte* panel =
        task.w + p * PanelBytes(task.groups, Panel::kGroupBytes < kPanelRows * kGroupValues);
    const std::int64_t n = p * kPanelRows;
    MultiplyPanel<Panel, 1, true>(task, panel, n, 0);
    std::int64_t i = 1;
    for (; i + 4 <= task.m; i += 4) MultiplyPanel<Panel, 4, false>(task, panel, n, i);
    for (; i < task.m; ++i) MultiplyPanel<Panel, 1, false>(task, panel, n, i);
  }
}

// See int8_from_f32 in kernels.h.
inline void QuantizeToInt8(const float* x, std::int64_t n, std::int8_t* values, float* scales,
                           std::int32_t* sums) {
  for (std::int64_t g = 0; g * kGroupValues < n; ++g) {
    const float* from = x + g * kGroupValues;
    const std::int64_t count = n - g * kGroupValues;
    const float largest = LargestMagnitude(from, count < kGroupValues ? count : kGroupValues);
    scales[g] = largest / 127;
    const Floats factor = Set(largest > 0 ? 127 / largest : 0.0f);
    Floats sum = Zero();
    for (int i = 0; i < kGroupValues; i += kLanes) {
      const Floats v = Round(Mul(LoadFirst(from + i, count - i, Zero()), factor));
      StoreInt8(values + g * kGroupValues + i, v);
      sum = Add(sum, v);
    }
    sums[g] = static_cast<std::int32_t>(ReduceAdd(sum));  // of 32 small integers: exact
  }
}

// Columns [column, column + 4) of the rows of a panel, each row's four bytes from `values` on.
inline void WidenColumns(const std::int8_t* values, const float* scales, std::int64_t column,
                         std::int64_t n, float* y) {
  for (std::int64_t r = 0; r < kPanelRows; ++r) {
    const __m128 scale = _mm_set1_ps(scales[r]);
    const __m128 four = _mm_mul_ps(FourFromInt8(values + 4 * r), scale);
    float* to = y + r * n + column;
    if (column + 4 <= n) {
      _mm_storeu_ps(to, four);
      continue;
    }
    alignas(16) float lanes[4];
    _mm_store_ps(lanes, four);
    for (std::int64_t c = 0; column + c < n; ++c) to[c] = lanes[c];
  }
}

template <bool kInt4>
void WidenPanel(const std::byte* panel, std::int64_t n, float* y) {
  constexpr std::int64_t kVector = 4 * kPanelRows;  // bytes
  const std::int64_t groups = (n + kGroupValues - 1) / kGroupValues;
  const auto* half_scales = reinterpret_cast<const std::uint16_t*>(panel);
  const auto* values = reinterpret_cast<const std::int8_t*>(panel + PanelScaleBytes(groups));
  for (std::int64_t g = 0; g < groups; ++g) {
    alignas(64) float scales[kPanelRows];
    StoreRows(scales, kPanelRows, LoadRowScales(half_scales + g * kPanelRows), nullptr);
    for (std::int64_t c = 0; c < kGroupValues && g * kGroupValues + c < n; c += 4) {
      const std::int64_t column = g * kGroupValues + c;
      if constexpr (!kInt4) {
        WidenColumns(values + c / 4 * kVector, scales, column, n, y);
        continue;
      }
      constexpr std::int64_t kHalf = kGroupValues / 2;
      alignas(32) std::int8_t expanded[kVector];
      for (std::int64_t b = 0; b < kVector; ++b) {
        const auto byte = static_cast<std::uint8_t>(values[c % kHalf / 4 * kVector + b]);
        expanded[b] = static_cast<std::int8_t>((c < kHalf ? byte & 15 : byte >> 4) - 8);
      }
      WidenColumns(expanded, scales, column, n, y);
    }
    values += kPanelRows * kGroupValues / (kInt4 ? 2 : 1);
  }
}

}  // namespace
}  // namespace esa
