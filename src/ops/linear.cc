#include "ops/linear.h"

#include <algorithm>

#include "base/check.h"
#include "ops/kernels/kernels.h"
#ifdef ESA_HAVE_ONEDNN
#include "ops/kernels/matmul.h"
#endif
#include "ops/kernels/scratch.h"

namespace esa {
namespace {

// Weight bytes that a thread takes at a time when rows are few: large against the microsecond it
// takes to hand them out, small against the matrix.
constexpr std::int64_t kPieceBytes = 128 << 10;

// When rows are many and oneDNN is not there: rows of x that meet a piece of the weights while
// that is in the cache.
constexpr std::int64_t kPieceRows = 32;

auto ProductKernel(DType dtype) {
  const Kernels& kernels = CurrentKernels();
  return dtype == DType::kF32   ? kernels.product_f32
         : dtype == DType::kF16 ? kernels.product_f16
                                : kernels.product_bf16;
}

// The product written here, for any number of rows: each result is the same function of its two
// rows however many there are.
void OwnProduct(const WeightView& weight, const float* bias, const float* x, std::int64_t m,
                float* y) {
  const auto product = ProductKernel(weight.dtype);
  const std::int64_t row_bytes = weight.cols * DTypeBytes(weight.dtype);
  const std::int64_t piece =
      std::max<std::int64_t>(kPieceBytes / std::max<std::int64_t>(row_bytes, 1) / 4 * 4, 4);
#pragma omp parallel for collapse(2) \
    schedule(dynamic) if (weight.rows * row_bytes * m > kPieceBytes)
  for (std::int64_t row = 0; row < weight.rows; row += piece) {
    for (std::int64_t i = 0; i < m; i += kPieceRows) {
      product({.w = weight.data,
               .cols = weight.cols,
               .row_begin = row,
               .row_end = std::min(row + piece, weight.rows),
               .x = x + i * weight.cols,
               .m = std::min(kPieceRows, m - i),
               .bias = bias,
               .y = y + i * weight.rows,
               .y_stride = weight.rows});
    }
  }
}

#ifdef ESA_HAVE_ONEDNN
// Values that a thread converts at a time.
constexpr std::int64_t kConvertValues = 1 << 14;

// Values widened at a time; 8 MiB of f32 stay in the last-level cache.
constexpr std::int64_t kWidenedValues = 2 << 20;

template <class In, class Out>
void Convert(void (*convert)(const In*, std::int64_t, Out*), const In* in, std::int64_t count,
             Out* out) {
#pragma omp parallel for schedule(static) if (count > kConvertValues)
  for (std::int64_t begin = 0; begin < count; begin += kConvertValues) {
    convert(in + begin, std::min(kConvertValues, count - begin), out + begin);
  }
}

// Weights of 16 bits widened piece by piece.
bool WidenedMatmul(MatmulTask task, void (*widen)(const std::uint16_t*, std::int64_t, float*)) {
  thread_local Scratch scratch;
  const auto* halves = static_cast<const std::uint16_t*>(task.w);
  const std::int64_t piece = std::max<std::int64_t>(kWidenedValues / task.k, 1);
  float* widened = scratch.Floats(static_cast<std::size_t>(std::min(piece, task.n) * task.k));
  const std::int64_t rows = task.n;
  const float* bias = task.bias;
  float* y = task.y;
  task.dtype = DType::kF32;
  task.w = widened;
  for (std::int64_t row = 0; row < rows; row += piece) {
    task.n = std::min(piece, rows - row);
    task.bias = bias == nullptr ? nullptr : bias + row;
    task.y = y + row;
    Convert(widen, halves + row * task.k, task.n * task.k, widened);
    if (!Matmul(task)) return false;
  }
  return true;
}

// Where the processor has no products of bf16, those of f32 are half as fast again as widening in
// the registers: AVX2, 512 rows: 140 GFLOP/s of a peak of 198, and 104.
bool MatmulBf16(MatmulTask task) {
  if (CurrentIsa() != Isa::kAvx512Bf16) {
    return WidenedMatmul(task, CurrentKernels().f32_from_bf16);
  }
  thread_local Scratch scratch;
  const std::int64_t values = task.m * task.k;
  auto* rounded =
      reinterpret_cast<std::uint16_t*>(scratch.Floats(static_cast<std::size_t>((values + 1) / 2)));
  Convert(CurrentKernels().bf16_from_f32, static_cast<const float*>(task.x), values, rounded);
  task.x = rounded;
  return Matmul(task);
}

bool LibraryProduct(const WeightView& weight, const float* bias, const float* x, std::int64_t m,
                    float* y) {
  const MatmulTask task = {.dtype = weight.dtype,
                           .x = x,
                           .w = weight.data,
                           .bias = bias,
                           .y = y,
                           .m = m,
                           .n = weight.rows,
                           .k = weight.cols,
                           .y_stride = weight.rows};
  switch (weight.dtype) {
    case DType::kF32:
      return Matmul(task);
    case DType::kF16:
      return WidenedMatmul(task, CurrentKernels().f32_from_f16);
    case DType::kBf16:
      return MatmulBf16(task);
  }
  return false;
}
#else
bool LibraryProduct(const WeightView&, const float*, const float*, std::int64_t, float*) {
  return false;
}
#endif

}  // namespace

void Linear(const WeightView& weight, std::span<const float> bias, const float* x, std::int64_t m,
            float* y) {
  ESA_CHECK(bias.empty() || static_cast<std::int64_t>(bias.size()) == weight.rows);
  if (m == 0 || weight.rows == 0) return;
  const float* added = bias.empty() ? nullptr : bias.data();
  if (m >= kMatrixRows && weight.cols > 0 && LibraryProduct(weight, added, x, m, y)) return;
  OwnProduct(weight, added, x, m, y);
}

void CopyRow(const WeightView& matrix, std::int64_t index, float* out) {
  ESA_CHECK(index >= 0 && index < matrix.rows);
  const Kernels& kernels = CurrentKernels();
  const std::int64_t begin = index * matrix.cols;
  if (matrix.dtype == DType::kF32) {
    std::copy_n(static_cast<const float*>(matrix.data) + begin, matrix.cols, out);
  } else {
    const auto* values = static_cast<const std::uint16_t*>(matrix.data) + begin;
    (matrix.dtype == DType::kF16 ? kernels.f32_from_f16 : kernels.f32_from_bf16)(values,
                                                                                 matrix.cols, out);
  }
}

}  // namespace esa
