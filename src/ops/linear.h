// y = x W^T + b for weights as checkpoints hold them: row-major [out, in], memory-mapped.
//
// Few rows run through a product written here that streams W once (a decode step is bound by
// that); many rows go to oneDNN. A row's result does not depend on which other rows are computed
// with it as long as the number of rows stays on one side of kMatrixRows; at or above it, it is a
// function of the row's content, its place and the number of rows.
// Threading: uses the OpenMP pool; call from one thread at a time.
#pragma once

#include <cstdint>
#include <span>

namespace esa {

enum class DType { kF32, kF16, kBf16 };

inline constexpr std::int64_t DTypeBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

// A matrix that someone else owns: [rows, cols], row-major, aligned to its value type.
struct WeightView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;  // out
  std::int64_t cols = 0;  // in
};

// From this many rows on, oneDNN multiplies. bf16 weights then meet activations rounded to bf16,
// where the processor multiplies bf16.
inline constexpr std::int64_t kMatrixRows = 16;

// x [m, cols] -> y [m, rows]; bias [rows] or empty. x and y must not overlap.
void Linear(const WeightView& weight, std::span<const float> bias, const float* x, std::int64_t m,
            float* y);

// Row `index` of a matrix as f32, [cols]: an embedding.
void CopyRow(const WeightView& matrix, std::int64_t index, float* out);

}  // namespace esa
