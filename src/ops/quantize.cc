#include "ops/quantize.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "ops/kernels/kernels.h"
#include "ops/numeric.h"

namespace esa {
namespace {

// The value of largest magnitude, of `count`; zero for none.
float Extreme(const float* x, std::int64_t count) {
  float extreme = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
  }
  return extreme;
}

// `count` values of one group as integers of [least, most] in units of the scale.
void Round(const float* x, std::int64_t count, std::uint16_t scale, int least, int most,
           std::int8_t* out) {
  const float unit = FloatFromF16(scale);
  const float factor = unit == 0 ? 0.0f : 1.0f / unit;
  for (std::int64_t i = 0; i < kGroupValues; ++i) {
    const float value = i < count ? std::nearbyint(x[i] * factor) : 0.0f;
    out[i] = static_cast<std::int8_t>(
        std::clamp(value, static_cast<float>(least), static_cast<float>(most)));
  }
}

}  // namespace

std::int64_t GroupsOf(std::int64_t cols) { return (cols + kGroupValues - 1) / kGroupValues; }

std::int64_t GroupedValueBytes(DType dtype, std::int64_t rows, std::int64_t cols) {
  const std::int64_t group = dtype == DType::kInt4 ? kGroupValues / 2 : kGroupValues;
  return rows * GroupsOf(cols) * group + kGroupPadding;
}

std::int64_t GroupedScaleBytes(std::int64_t rows, std::int64_t cols) {
  return rows * GroupsOf(cols) * std::int64_t{sizeof(std::uint16_t)};
}

void QuantizeRow(DType dtype, const float* row, std::int64_t cols, void* values,
                 std::uint16_t* scales) {
  ESA_CHECK(dtype == DType::kInt8 || dtype == DType::kInt4);
  std::int8_t group[kGroupValues];
  for (std::int64_t g = 0; g < GroupsOf(cols); ++g) {
    const float* from = row + g * kGroupValues;
    const std::int64_t count = std::min(kGroupValues, cols - g * kGroupValues);
    const float extreme = Extreme(from, count);
    if (dtype == DType::kInt8) {
      scales[g] = F16FromFloat(std::abs(extreme) / 127);
      Round(from, count, scales[g], -127, 127,
            static_cast<std::int8_t*>(values) + g * kGroupValues);
      continue;
    }
    scales[g] = F16FromFloat(extreme / -8);
    Round(from, count, scales[g], -8, 7, group);
    constexpr std::int64_t kHalf = kGroupValues / 2;
    auto* bytes = static_cast<std::uint8_t*>(values) + g * kHalf;
    for (std::int64_t i = 0; i < kHalf; ++i) {
      bytes[i] = static_cast<std::uint8_t>((group[i] + 8) | (group[i + kHalf] + 8) << 4);
    }
  }
}

}  // namespace esa
