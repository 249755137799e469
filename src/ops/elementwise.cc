#include "ops/elementwise.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "ops/kernels/kernels.h"
#include "ops/kernels/scratch.h"

namespace esa {
namespace {

// Values from which a second thread pays for its start (a few microseconds).
constexpr std::int64_t kParallelValues = 1 << 15;

// A multiple of every vector: only the last piece of an array ends in a partial one.
constexpr std::int64_t kPieceValues = 1 << 12;

// Calls op(begin, count) for pieces of [0, count).
template <class Op>
void ForEachPiece(std::int64_t count, Op op) {
#pragma omp parallel for schedule(static) if (count >= kParallelValues)
  for (std::int64_t begin = 0; begin < count; begin += kPieceValues) {
    op(begin, std::min(kPieceValues, count - begin));
  }
}

// Cosine and sine of position * inverse_frequency[i], [count], to an absolute error of 1e-7 also
// at positions of millions: the angle is made and reduced to [-pi/4, pi/4] in double. Straight
// arithmetic without calls, so that compilers make vectors of it.
void Angles(std::int32_t position, const float* inverse_frequency, std::int64_t count,
            float* cosine, float* sine) {
  constexpr double kHalfPi = 1.57079632679489661923;
  // Adding and subtracting 1.5 * 2^52 rounds a double to an integer.
  constexpr double kRounder = 6755399441055744.0;
  for (std::int64_t i = 0; i < count; ++i) {
    // The product is rounded to f32 as the models were trained with; its sine is then accurate.
    const double angle = static_cast<float>(position) * inverse_frequency[i];
    const double quarter_turns = angle * (1.0 / kHalfPi) + kRounder - kRounder;
    const auto quadrant = static_cast<std::int32_t>(quarter_turns);
    const auto r = static_cast<float>(angle - quarter_turns * kHalfPi);
    const float r2 = r * r;
    const float s =
        r + r * r2 * (-1.0f / 6 + r2 * (1.0f / 120 + r2 * (-1.0f / 5040 + r2 * (1.0f / 362880))));
    const float c = 1.0f + r2 * (-0.5f + r2 * (1.0f / 24 + r2 * (-1.0f / 720 + r2 / 40320)));
    const bool swapped = (quadrant & 1) != 0;
    const float cosine_sign = ((quadrant + 1) & 2) != 0 ? -1.0f : 1.0f;
    const float sine_sign = (quadrant & 2) != 0 ? -1.0f : 1.0f;
    cosine[i] = cosine_sign * (swapped ? s : c);
    sine[i] = sine_sign * (swapped ? c : s);
  }
}

}  // namespace

void RmsNorm(const float* x, std::int64_t rows, std::span<const float> weight, float eps,
             float* y) {
  const Kernels& kernels = CurrentKernels();
  const auto n = static_cast<std::int64_t>(weight.size());
#pragma omp parallel for schedule(static) if (rows > 1 && rows * n >= kParallelValues)
  for (std::int64_t r = 0; r < rows; ++r) {
    kernels.rms_norm(x + r * n, weight.data(), n, eps, y + r * n);
  }
}

void Rope(float* x, std::span<const std::int32_t> positions, int num_heads, int head_dim,
          std::span<const float> inverse_frequency) {
  const Kernels& kernels = CurrentKernels();
  const std::int64_t half = head_dim / 2;
  ESA_CHECK(static_cast<std::int64_t>(inverse_frequency.size()) == half);
  const auto rows = static_cast<std::int64_t>(positions.size());
  const std::int64_t row_values = static_cast<std::int64_t>(num_heads) * head_dim;
#pragma omp parallel for schedule(static) if (rows > 1 && rows * row_values >= kParallelValues)
  for (std::int64_t r = 0; r < rows; ++r) {
    thread_local Scratch scratch;
    float* cosine = scratch.Floats(static_cast<std::size_t>(head_dim));
    float* sine = cosine + half;
    Angles(positions[static_cast<std::size_t>(r)], inverse_frequency.data(), half, cosine, sine);
    for (int h = 0; h < num_heads; ++h) {
      kernels.rotate(x + r * row_values + static_cast<std::int64_t>(h) * head_dim, cosine, sine,
                     half);
    }
  }
}

void SwiGlu(const float* gate, const float* up, std::int64_t count, float* y) {
  const Kernels& kernels = CurrentKernels();
  ForEachPiece(count, [&](std::int64_t begin, std::int64_t n) {
    kernels.swiglu(gate + begin, up + begin, n, y + begin);
  });
}

void AddInPlace(const float* x, std::int64_t count, float* y) {
  const Kernels& kernels = CurrentKernels();
  ForEachPiece(count,
               [&](std::int64_t begin, std::int64_t n) { kernels.add(x + begin, n, y + begin); });
}

}  // namespace esa
