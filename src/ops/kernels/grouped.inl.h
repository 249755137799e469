// Rows of int8 activations times rows of int8 or int4 weights, both with a scale for every group of
// kGroupValues values; and the conversions around it.
// Include after one of vec_*.h.
//
// Integer products of a group are exact; they are scaled and added up in f32, each dot product in
// one vector accumulator in the order of the columns, so that it is the same function of its two
// rows whatever is computed beside it. Scales are multiplied kLanes groups at a time.
#pragma once

#include "ops/kernels/kernels.h"

namespace esa {
namespace {

inline constexpr int kVectorGroups = kLanes / 8;  // groups whose values fill a vector of bytes

struct Int8Groups {
  static constexpr std::int64_t kGroupBytes = kGroupValues;
  static Bytes Load(const std::uint8_t* p) { return LoadBytes(p); }
};

// A byte holds value i of its group in the lower half and value i + 16 in the upper, 8 too large.
struct Int4Groups {
  static constexpr std::int64_t kGroupBytes = kGroupValues / 2;
  static Bytes Load(const std::uint8_t* p) { return LoadNibbles(p); }
};

inline constexpr int kGroupedPanelRows = 4;

// Groups [g, g + count) of kM rows of x from i0 on and kN rows of w; kWhole: count is kLanes.
template <class Weight, int kM, int kN, bool kFirst, bool kWhole>
inline void AddGroups(const GroupedProductTask& task, const std::uint8_t* w,
                      const std::uint16_t* w_scales, std::int64_t i0, std::int64_t g,
                      std::int64_t count, Floats (&acc)[kM][kN]) {
  const std::int64_t row_bytes = task.groups * Weight::kGroupBytes;
  Floats scales[kM][kN];
#pragma GCC unroll 8
  for (int n = 0; n < kN; ++n) {
    const std::uint16_t* from = w_scales + n * task.groups + g;
    const Floats ws = kWhole ? LoadF16(from) : LoadFirstF16(from, count);
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) {
      scales[i][n] = Mul(ws, Load(task.x_scales + (i0 + i) * task.x_scale_stride + g));
    }
  }
  const auto add = [&](int v) __attribute__((always_inline)) {
    const std::int64_t group = g + v * kVectorGroups;
    Bytes values[kN];
#pragma GCC unroll 8
    for (int n = 0; n < kN; ++n) {
      const std::uint8_t* at = w + n * row_bytes + group * Weight::kGroupBytes;
      values[n] = Weight::Load(at);
      if constexpr (kFirst) Prefetch(at + kN * row_bytes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) {
      const SignedBytes x =
          SplitSigns(LoadBytes(task.x + (i0 + i) * task.x_stride + group * kGroupValues));
#pragma GCC unroll 8
      for (int n = 0; n < kN; ++n) {
        acc[i][n] =
            MulAdd(ToFloats(DotBytes(values[n], x)), SpreadGroups(scales[i][n], v), acc[i][n]);
      }
    }
  };
  if constexpr (kWhole) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; ++v) add(v);
  } else {
    for (int v = 0; v * kVectorGroups < count; ++v) add(v);
  }
}

template <class Weight, int kM, int kN, bool kFirst>
inline void DotGroups(const GroupedProductTask& task, std::int64_t row, std::int64_t i0) {
  const std::uint8_t* w =
      static_cast<const std::uint8_t*>(task.w) + row * task.groups * Weight::kGroupBytes;
  const std::uint16_t* w_scales = task.w_scales + row * task.groups;
  Floats acc[kM][kN];
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 8
    for (int n = 0; n < kN; ++n) acc[i][n] = Zero();
  }
  std::int64_t g = 0;
  for (; g + kLanes <= task.groups; g += kLanes) {
    AddGroups<Weight, kM, kN, kFirst, true>(task, w, w_scales, i0, g, kLanes, acc);
  }
  if (g < task.groups) {
    AddGroups<Weight, kM, kN, kFirst, false>(task, w, w_scales, i0, g, task.groups - g, acc);
  }
  for (int i = 0; i < kM; ++i) {
    for (int n = 0; n < kN; ++n) {
      const float bias = task.bias != nullptr ? task.bias[row + n] : 0.0f;
      task.y[(i0 + i) * task.y_stride + row + n] = ReduceAdd(acc[i][n]) + bias;
    }
  }
}

template <class Weight, int kN>
inline void DotGroupedPanel(const GroupedProductTask& task, std::int64_t row) {
  DotGroups<Weight, 1, kN, true>(task, row, 0);
  std::int64_t i = 1;
  for (; i + 2 <= task.m; i += 2) DotGroups<Weight, 2, kN, false>(task, row, i);
  if (i < task.m) DotGroups<Weight, 1, kN, false>(task, row, i);
}

template <class Weight>
void MultiplyGroupedRows(const GroupedProductTask& task) {
  std::int64_t row = task.row_begin;
  for (; row + kGroupedPanelRows <= task.row_end; row += kGroupedPanelRows) {
    DotGroupedPanel<Weight, kGroupedPanelRows>(task, row);
  }
  for (; row < task.row_end; ++row) DotGroupedPanel<Weight, 1>(task, row);
}

// See QuantizeRow in kernels.h.
inline void QuantizeToInt8(const float* x, std::int64_t n, std::int8_t* values, float* scales) {
  for (std::int64_t g = 0; g * kGroupValues < n; ++g) {
    const float* from = x + g * kGroupValues;
    const std::int64_t count = n - g * kGroupValues;
    Floats top = Zero();
    for (int i = 0; i < kGroupValues; i += kLanes) {
      const Floats v = LoadFirst(from + i, count - i, Zero());
      top = Max(top, Max(v, Sub(Zero(), v)));
    }
    const float largest = ReduceMax(top);
    scales[g] = largest / 127;
    const Floats factor = Set(largest > 0 ? 127 / largest : 0.0f);
    for (int i = 0; i < kGroupValues; i += kLanes) {
      StoreInt8(values + g * kGroupValues + i, Mul(LoadFirst(from + i, count - i, Zero()), factor));
    }
  }
}

template <class Weight>
void WidenGroups(const void* values, const std::uint16_t* scales, std::int64_t n, float* out) {
  alignas(64) std::int8_t bytes[kVectorGroups * kGroupValues];
  alignas(64) float widened[kLanes];
  const auto* from = static_cast<const std::uint8_t*>(values);
  const std::int64_t groups = (n + kGroupValues - 1) / kGroupValues;
  for (std::int64_t g = 0; g < groups; g += kVectorGroups) {
    Store(widened,
          LoadFirstF16(scales + g, groups - g < kVectorGroups ? groups - g : kVectorGroups));
    StoreBytes(bytes, Weight::Load(from + g * Weight::kGroupBytes));
    for (int i = 0; i < kVectorGroups * kGroupValues; i += kLanes) {
      const std::int64_t at = g * kGroupValues + i;
      if (at >= n) break;
      const Floats value = Mul(FloatsFromInt8(bytes + i), Set(widened[i / kGroupValues]));
      StoreFirst(out + at, n - at, value);
    }
  }
}

}  // namespace
}  // namespace esa
