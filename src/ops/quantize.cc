#include "ops/quantize.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "ops/kernels/kernels.h"
#include "ops/numeric.h"

namespace esa {
namespace {

static_assert(kQuantizedRows == kPanelRows);

// The value of largest magnitude, of `count`; zero for none.
float Extreme(const float* x, std::int64_t count) {
  float extreme = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
  }
  return extreme;
}

// One row's group of `count` values, and its scale.
void QuantizeGroup(bool int4, const float* x, std::int64_t count, std::byte* group,
                   std::uint16_t* scale) {
  const float extreme = Extreme(x, count);
  *scale = F16FromFloat(int4 ? extreme / -8 : std::abs(extreme) / 127);
  const float unit = FloatFromF16(*scale);
  const float factor = unit == 0 ? 0.0f : 1.0f / unit;
  const float least = int4 ? -8 : -127;
  const float most = int4 ? 7 : 127;
  constexpr std::int64_t kHalf = kGroupValues / 2;
  for (std::int64_t i = 0; i < kGroupValues; ++i) {
    const float value = i < count ? std::clamp(std::nearbyint(x[i] * factor), least, most) : 0.0f;
    const std::int64_t c = int4 ? i % kHalf : i;
    std::byte& byte = group[c / 4 * kPanelRows * 4 + c % 4];
    if (!int4) {
      byte = static_cast<std::byte>(static_cast<std::int8_t>(value));
    } else {
      byte |= static_cast<std::byte>((static_cast<int>(value) + 8) << (i < kHalf ? 0 : 4));
    }
  }
}

}  // namespace

std::int64_t QuantizedPanelBytes(DType dtype, std::int64_t cols) {
  return PanelBytes(GroupsOf(cols), dtype == DType::kInt4);
}

std::int64_t QuantizedBytes(DType dtype, std::int64_t rows, std::int64_t cols) {
  return (rows + kPanelRows - 1) / kPanelRows * QuantizedPanelBytes(dtype, cols);
}

void QuantizePanel(DType dtype, const float* rows, std::int64_t num_rows, std::int64_t cols,
                   std::byte* panel) {
  ESA_CHECK(IsQuantized(dtype) && num_rows <= kPanelRows);
  const bool int4 = dtype == DType::kInt4;
  const std::int64_t groups = GroupsOf(cols);
  const std::int64_t group_bytes = kPanelRows * kGroupValues / (int4 ? 2 : 1);
  auto* scales = reinterpret_cast<std::uint16_t*>(panel);
  std::byte* values = panel + PanelScaleBytes(groups);
  for (std::int64_t r = 0; r < num_rows; ++r) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t count = std::min(kGroupValues, cols - g * kGroupValues);
      QuantizeGroup(int4, rows + r * cols + g * kGroupValues, count,
                    values + g * group_bytes + r * 4, &scales[g * kPanelRows + r]);
    }
  }
}

}  // namespace esa
