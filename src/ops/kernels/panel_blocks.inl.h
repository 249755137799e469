// Many rows of int8 activations times panels of int8 or int4 weights.
// Include after one of vec_*.h.
//
// A few groups of a few panels are brought into the form that the processor multiplies, once for a
// block of rows; rows then meet them a few at a time, sums in registers. Each result is bit by bit
// that of panels.inl.h: integer products of a group are exact, and groups are added in their order.
#pragma once

#include "ops/kernels/kernels.h"

namespace esa {
namespace {

inline constexpr std::int64_t kBlockGroups = 16;  // at a time: a tile of AVX2 then takes 16 KiB
inline constexpr int kTileVectors = kWideIntVectors;
inline constexpr std::int64_t kPanelsPerVector = kLanes / kPanelRows;
inline constexpr std::int64_t kTilePanels = kTileVectors * kPanelsPerVector;

// How a group of 32 columns is multiplied: in kUnits steps, each of 32 bits of a row of x and of
// each lane of the weights. `values` are those of a group of the two panels that a vector holds
// (the second is not read if one fills it).

// Weights of 8 bits widened to 16, two columns a step: first of each four the even ones.
struct ShortSteps {
  static constexpr int kUnits = 16;
  static constexpr std::int64_t kGroupBytes = kPanelRows * kGroupValues;
  static constexpr bool kPacked = true;
  static void Pack(const std::int8_t* x, std::int64_t groups, float* units) {
    for (std::int64_t i = 0; i < groups * kGroupValues; i += kShorts) {
      StoreShorts(units + i / 2, EvenOddShorts(LoadInt8(x + i)));
    }
  }
  static void Prepare(const std::byte* first, const std::byte* second, Ints* w) {
    for (int j = 0; j < kUnits / 2; ++j) {
      const Floats four = LoadPanels(first + 32 * j, second + 32 * j);
      w[2 * j * kTileVectors] = EvenBytes(four);
      w[(2 * j + 1) * kTileVectors] = OddBytes(four);
    }
  }
  static Ints Add(Ints w, Ints x, Ints sum) { return AddProducts(w, x, sum); }
  static Ints Finish(Ints sum, std::int32_t /*x_sum*/) { return sum; }
};

// Weights as unsigned bytes, kOffset too large, four columns a step.
template <bool kInt4>
struct ByteSteps {
  static constexpr int kUnits = 8;
  static constexpr std::int64_t kGroupBytes = kPanelRows * kGroupValues / (kInt4 ? 2 : 1);
  static constexpr std::int32_t kOffset = kInt4 ? 8 : 128;
  static constexpr bool kPacked = false;
  static void Prepare(const std::byte* first, const std::byte* second, Ints* w) {
    for (int j = 0; j < kUnits / (kInt4 ? 2 : 1); ++j) {
      const Ints bytes = BitsOf(LoadPanels(first + 32 * j, second + 32 * j));
      if constexpr (kInt4) {
        w[j * kTileVectors] = LowerFourBits(bytes);
        w[(j + kUnits / 2) * kTileVectors] = UpperFourBits(bytes);
      } else {
        w[j * kTileVectors] = FlipSigns(bytes);
      }
    }
  }
  static Ints Add(Ints w, Ints x, Ints sum) {
    // Those of int4 stay within 16 bits for a group.
    static_assert(kInt4 || kWideSumsOfBytes);
    return AddBytes(w, x, sum);
  }
  static Ints Finish(Ints sum, std::int32_t x_sum) {
    return AddInts(SumOfBytes(sum), SetInts(-kOffset * x_sum));
  }
};

template <bool kInt4, bool kBytes = kInt4 || kWideSumsOfBytes>
struct StepsOf {
  using Type = ByteSteps<kInt4>;
};
template <>
struct StepsOf<false, false> {
  using Type = ShortSteps;
};

// Groups [group, group + groups) of kTilePanels panels and of the block's rows.
struct PanelBlock {
  const PanelProductTask& task;
  std::int64_t group;
  std::int64_t groups;
  const Ints* w;           // [groups, units, kTileVectors]
  const Floats* w_scales;  // [groups, kTileVectors]
  const float* x;          // units; rows x_stride apart
  std::int64_t x_stride;
  std::int64_t n;      // the tile's first row of weights
  std::int64_t count;  // of its rows of weights
};

template <class Steps, int kRows>
inline void MultiplyRowsOfBlock(const PanelBlock& b, std::int64_t row) {
  const PanelProductTask& task = b.task;
  const bool is_first = b.group == 0;
  const bool is_last = b.group + b.groups == task.groups;
  const float* x = b.x + row * b.x_stride;
  const Ints* w = b.w;
  Floats acc[kRows][kTileVectors];
  for (int r = 0; r < kRows; ++r) {
    const float* y = task.y + (row + r) * task.y_stride + b.n;
    for (int v = 0; v < kTileVectors; ++v) {
      acc[r][v] = is_first ? Zero() : LoadFirst(y + v * kLanes, b.count - v * kLanes, Zero());
    }
  }
  for (std::int64_t g = 0; g < b.groups; ++g) {
    Ints sums[kRows][kTileVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) sums[r][v] = ZeroInts();
    }
#pragma GCC unroll 4
    for (int u = 0; u < Steps::kUnits; ++u) {
      Ints step[kTileVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) step[v] = w[v];
      w += kTileVectors;
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const Ints unit = BitsOf(Set(x[r * b.x_stride + u]));
#pragma GCC unroll 8
        for (int v = 0; v < kTileVectors; ++v) sums[r][v] = Steps::Add(step[v], unit, sums[r][v]);
      }
    }
    x += Steps::kUnits;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t at = (row + r) * task.groups + b.group + g;
      const Floats x_scale = Set(task.x_scales[at]);
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) {
        const Floats dots = FloatsFromInts(Steps::Finish(sums[r][v], task.x_sums[at]));
        const Floats scale = Mul(b.w_scales[g * kTileVectors + v], x_scale);
        acc[r][v] = MulAdd(dots, scale, acc[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    float* y = task.y + (row + r) * task.y_stride + b.n;
    for (int v = 0; v < kTileVectors; ++v) {
      const std::int64_t count = b.count - v * kLanes;
      if (is_last && task.bias != nullptr) {
        acc[r][v] = Add(acc[r][v], LoadFirst(task.bias + b.n + v * kLanes, count, Zero()));
      }
      StoreFirst(y + v * kLanes, count, acc[r][v]);
    }
  }
}

template <class Steps, int kRows>
inline void MultiplyAtMostRows(const PanelBlock& b, std::int64_t row) {
  if constexpr (kRows > 1) {
    if (b.task.m - row < kRows) return MultiplyAtMostRows<Steps, kRows - 1>(b, row);
  }
  MultiplyRowsOfBlock<Steps, kRows>(b, row);
}

// At most kPanelBlockRows rows of x.
template <bool kInt4>
void MultiplyPanelBlock(const PanelProductTask& task) {
  using Steps = typename StepsOf<kInt4>::Type;
  constexpr std::int64_t kUnitsOfTile = kBlockGroups * Steps::kUnits * kTileVectors;
  static_assert((kUnitsOfTile + kBlockGroups * kTileVectors) * kLanes +
                    kPanelBlockRows * kBlockGroups * kGroupValues / 2 <=
                kPanelScratchFloats);
  auto* w = reinterpret_cast<Ints*>(task.scratch);
  auto* w_scales = reinterpret_cast<Floats*>(w + kUnitsOfTile);
  auto* packed = reinterpret_cast<float*>(w_scales + kBlockGroups * kTileVectors);
  const std::int64_t panel_bytes = PanelBytes(task.groups, kInt4);
  const std::int64_t scale_bytes = PanelScaleBytes(task.groups);
  const auto panel_at = [&](std::int64_t p) {
    // Those behind the last repeat it, and are not stored.
    return task.w + (p < task.panel_end ? p : task.panel_end - 1) * panel_bytes;
  };
  for (std::int64_t group = 0; group < task.groups; group += kBlockGroups) {
    const std::int64_t rest = task.groups - group;
    PanelBlock block = {.task = task,
                        .group = group,
                        .groups = rest < kBlockGroups ? rest : kBlockGroups,
                        .w = w,
                        .w_scales = w_scales,
                        .x = reinterpret_cast<const float*>(task.x + group * kGroupValues),
                        .x_stride = task.groups * kGroupValues / 4,
                        .n = 0,
                        .count = 0};
    if constexpr (Steps::kPacked) {
      block.x = packed;
      block.x_stride = kBlockGroups * Steps::kUnits;
      for (std::int64_t i = 0; i < task.m; ++i) {
        Steps::Pack(task.x + (i * task.groups + group) * kGroupValues, block.groups,
                    packed + i * block.x_stride);
      }
    }
    for (std::int64_t p = task.panel_begin; p < task.panel_end; p += kTilePanels) {
      for (std::int64_t g = 0; g < block.groups; ++g) {
        const std::int64_t scales_at = (group + g) * kPanelRows * 2;
        const std::int64_t values_at = scale_bytes + (group + g) * Steps::kGroupBytes;
        for (int v = 0; v < kTileVectors; ++v) {
          const std::byte* first = panel_at(p + v * kPanelsPerVector);
          const std::byte* second = panel_at(p + v * kPanelsPerVector + 1);
          w_scales[g * kTileVectors + v] = LoadPanelScales(first + scales_at, second + scales_at);
          Steps::Prepare(first + values_at, second + values_at,
                         w + g * Steps::kUnits * kTileVectors + v);
        }
      }
      block.n = p * kPanelRows;
      block.count =
          (task.panel_end * kPanelRows < task.rows ? task.panel_end * kPanelRows : task.rows) -
          block.n;
      for (std::int64_t row = 0; row < task.m; row += kWideIntRows) {
        MultiplyAtMostRows<Steps, kWideIntRows>(block, row);
      }
    }
  }
}

}  // namespace
}  // namespace esa
