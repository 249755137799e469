// y = x W^T + b for weights as checkpoints hold them, row-major [out, in], or as small integers.
//
// Few rows run through products written here that stream W once (a decode step is bound by that),
// many rows go to oneDNN. A row's result does not depend on which other rows are computed with it
// as long as the number of rows stays on one side of kMatrixRows; at or above it, it is a function
// of the row's content, its place and the number of rows.
// Integers meet activations that are rounded to int8 in groups, few rows and many: on AVX2 and
// above all products with them are written here, and a row's result is its own. On lesser
// processors they are widened for oneDNN from kMatrixRows on.
// Threading: uses the OpenMP pool; call from one thread at a time.
#pragma once

#include <cstdint>
#include <span>

namespace esa {

enum class DType { kF32, kF16, kBf16, kInt8, kInt4 };  // integers: see ops/quantize.h

inline constexpr bool IsQuantized(DType dtype) {
  return dtype == DType::kInt8 || dtype == DType::kInt4;
}

// Of one value; not of integers, which have scales among them.
inline constexpr std::int64_t DTypeBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

// A matrix that someone else owns: [rows, cols], row-major, aligned to its value type; or, of
// integers, in panels of rows.
struct WeightView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;  // out
  std::int64_t cols = 0;  // in
};

// What a product of all its rows reads.
std::int64_t WeightBytes(const WeightView& weight);

// From this many rows on, oneDNN multiplies. bf16 weights then meet activations rounded to bf16,
// where the processor multiplies bf16.
inline constexpr std::int64_t kMatrixRows = 16;

// Whether integers meet rounded activations however many the rows are.
bool IntegersMeetIntegers();

// One of several products of the same x.
struct LinearOutput {
  const WeightView* weight = nullptr;
  std::span<const float> bias = {};  // [weight->rows] or empty
  float* y = nullptr;                // [m, weight->rows]
};

// x [m, cols] -> y of each; all have the same cols. x and y must not overlap. Few rows take one
// parallel region for all of them.
void Linear(std::span<const LinearOutput> outputs, const float* x, std::int64_t m);

// One product: x [m, cols] -> y [m, rows].
void Linear(const WeightView& weight, std::span<const float> bias, const float* x, std::int64_t m,
            float* y);

// Row `index` of a matrix as f32, [cols]: an embedding.
void CopyRow(const WeightView& matrix, std::int64_t index, float* out);

}  // namespace esa
