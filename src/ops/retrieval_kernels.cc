#include "ops/retrieval_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "ops/kernels/kernels.h"

namespace esa {
namespace {

// An integer in the order of the scores, zero for NaN. Minus zero equals zero.
std::uint32_t OrderOf(float score) {
  if (std::isnan(score)) return 0;
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

}  // namespace

void DotRows(const float* rows, std::int64_t dim, const float* query, std::span<float> scores) {
  CurrentKernels().product_f32({.w = rows,
                                .cols = dim,
                                .row_end = static_cast<std::int64_t>(scores.size()),
                                .x = query,
                                .m = 1,
                                .y = scores.data()});
}

// Finds the k-th largest score, then takes in one pass what is larger and as many of its equals,
// lowest index first, as there is room for.
std::vector<std::int32_t> TopK(std::span<const float> scores, std::int64_t k) {
  const auto count = static_cast<std::int64_t>(scores.size());
  k = std::clamp<std::int64_t>(k, 0, count);
  std::vector<std::int32_t> best;
  if (k == 0) return best;
  best.reserve(static_cast<std::size_t>(k));
  std::vector<std::uint32_t> order(scores.size());
  std::transform(scores.begin(), scores.end(), order.begin(), OrderOf);
  std::vector<std::uint32_t> sorted = order;
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const std::uint32_t threshold = sorted[static_cast<std::size_t>(k - 1)];
  auto equals = k - std::count_if(sorted.begin(), sorted.begin() + k,
                                  [=](std::uint32_t o) { return o > threshold; });
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t o = order[static_cast<std::size_t>(i)];
    if (o < threshold || (o == threshold && equals-- <= 0)) continue;
    best.push_back(static_cast<std::int32_t>(i));
  }
  return best;
}

}  // namespace esa
