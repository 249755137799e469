#include "ops/linear.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "ops/kernels/kernels.h"
#ifdef ESA_HAVE_ONEDNN
#include "ops/kernels/matmul.h"
#endif
#include "ops/kernels/scratch.h"
#include "ops/quantize.h"

namespace esa {
namespace {

// Weight bytes that a thread takes at a time when rows are few: large against the microsecond it
// takes to hand them out, small against the matrix.
constexpr std::int64_t kPieceBytes = 128 << 10;

// When rows are many and oneDNN is not there: rows of x that meet a piece of the weights while
// that is in the cache.
constexpr std::int64_t kPieceRows = 32;

// x, and the same in int8 for products with integers.
struct Activations {
  const float* x = nullptr;             // [m, cols]
  const std::int8_t* values = nullptr;  // [m, groups * kGroupValues]
  const float* scales = nullptr;        // [m, groups]
  const std::int32_t* sums = nullptr;   // [m, groups]
};

Activations Rounded(const float* x, std::int64_t m, std::int64_t cols) {
  thread_local Scratch kept;
  const std::int64_t groups = GroupsOf(cols);
  // In units of f32: the values of a group, its scale and its sum.
  constexpr std::int64_t kGroupFloats = kGroupValues / std::int64_t{sizeof(float)} + 2;
  float* memory = kept.Floats(static_cast<std::size_t>(m * groups * kGroupFloats));
  float* scales = memory;
  auto* sums = reinterpret_cast<std::int32_t*>(scales + m * groups);
  auto* values = reinterpret_cast<std::int8_t*>(sums + m * groups);
  for (std::int64_t i = 0; i < m; ++i) {
    CurrentKernels().int8_from_f32(x + i * cols, cols, values + i * groups * kGroupValues,
                                   scales + i * groups, sums + i * groups);
  }
  return {.x = x, .values = values, .scales = scales, .sums = sums};
}

auto ProductKernel(DType dtype) {
  const Kernels& kernels = CurrentKernels();
  return dtype == DType::kF32   ? kernels.product_f32
         : dtype == DType::kF16 ? kernels.product_f16
                                : kernels.product_bf16;
}

// Rows [row, end) of the weights against rows [i, i + m) of x.
void MultiplyPiece(const LinearOutput& output, const Activations& x, std::int64_t row,
                   std::int64_t end, std::int64_t i, std::int64_t m) {
  const WeightView& w = *output.weight;
  const float* bias = output.bias.empty() ? nullptr : output.bias.data();
  float* y = output.y + i * w.rows;
  if (!IsQuantized(w.dtype)) {
    return ProductKernel(w.dtype)({.w = w.data,
                                   .cols = w.cols,
                                   .row_begin = row,
                                   .row_end = end,
                                   .x = x.x + i * w.cols,
                                   .m = m,
                                   .bias = bias,
                                   .y = y,
                                   .y_stride = w.rows});
  }
  const Kernels& kernels = CurrentKernels();
  const std::int64_t groups = GroupsOf(w.cols);
  const PanelProductTask task = {.w = static_cast<const std::byte*>(w.data),
                                 .rows = w.rows,
                                 .groups = groups,
                                 .panel_begin = row / kPanelRows,
                                 .panel_end = (end + kPanelRows - 1) / kPanelRows,
                                 .x = x.values + i * groups * kGroupValues,
                                 .x_scales = x.scales + i * groups,
                                 .x_sums = x.sums + i * groups,
                                 .m = m,
                                 .bias = bias,
                                 .y = y,
                                 .y_stride = w.rows};
  w.dtype == DType::kInt8 ? kernels.product_int8(task) : kernels.product_int4(task);
}

// Weight rows of a piece: whole panels.
std::int64_t RowsOfPiece(const WeightView& weight) {
  const std::int64_t row_bytes =
      std::max<std::int64_t>(WeightBytes(weight) / std::max<std::int64_t>(weight.rows, 1), 1);
  return std::max(kPieceBytes / row_bytes / kPanelRows * kPanelRows, kPanelRows);
}

struct Piece {
  const LinearOutput* output;
  std::int64_t row, end;
};

// The products written here, for any number of rows: each result is the same function of its two
// rows however many there are.
void OwnProducts(std::span<const LinearOutput> outputs, const float* x, std::int64_t m) {
  thread_local std::vector<Piece> kept_pieces;
  std::vector<Piece>& pieces = kept_pieces;
  pieces.clear();
  Activations activations{.x = x};
  for (const LinearOutput& output : outputs) {
    const WeightView& w = *output.weight;
    if (IsQuantized(w.dtype) && activations.values == nullptr) activations = Rounded(x, m, w.cols);
    const std::int64_t step = RowsOfPiece(w);
    for (std::int64_t row = 0; row < w.rows; row += step) {
      pieces.push_back({&output, row, std::min(row + step, w.rows)});
    }
  }
  const auto count = static_cast<std::int64_t>(pieces.size());
#pragma omp parallel for collapse(2) schedule(dynamic) if (count * m > 1)
  for (std::int64_t p = 0; p < count; ++p) {
    for (std::int64_t i = 0; i < m; i += kPieceRows) {
      const Piece& piece = pieces[static_cast<std::size_t>(p)];
      MultiplyPiece(*piece.output, activations, piece.row, piece.end, i,
                    std::min(kPieceRows, m - i));
    }
  }
}

// Rows of the panel, kPanelRows whatever is there of them.
void WidenPanel(const WeightView& weight, std::int64_t panel, float* out) {
  const Kernels& kernels = CurrentKernels();
  const bool int4 = weight.dtype == DType::kInt4;
  const std::byte* data =
      static_cast<const std::byte*>(weight.data) + panel * PanelBytes(GroupsOf(weight.cols), int4);
  (int4 ? kernels.f32_from_int4 : kernels.f32_from_int8)(data, weight.cols, out);
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

// Weights widened piece by piece: widen(first row, rows, out), by panels.
template <class Widen>
bool WidenedMatmul(MatmulTask task, Widen widen) {
  thread_local Scratch scratch;
  const std::int64_t piece =
      std::max(kWidenedValues / task.k / kPanelRows * kPanelRows, kPanelRows);
  const std::int64_t most = std::min(piece, (task.n + kPanelRows - 1) / kPanelRows * kPanelRows);
  float* widened = scratch.Floats(static_cast<std::size_t>(most * task.k));
  const std::int64_t rows = task.n;
  const float* bias = task.bias;
  float* y = task.y;
  task.dtype = DType::kF32;
  task.w = widened;
  for (std::int64_t row = 0; row < rows; row += piece) {
    task.n = std::min(piece, rows - row);
    task.bias = bias == nullptr ? nullptr : bias + row;
    task.y = y + row;
    widen(row, task.n, widened);
    if (!Matmul(task)) return false;
  }
  return true;
}

bool WidenedHalves(const MatmulTask& task,
                   void (*widen)(const std::uint16_t*, std::int64_t, float*)) {
  const auto* halves = static_cast<const std::uint16_t*>(task.w);
  return WidenedMatmul(task, [=](std::int64_t row, std::int64_t rows, float* out) {
    Convert(widen, halves + row * task.k, rows * task.k, out);
  });
}

bool WidenedIntegers(const MatmulTask& task, const WeightView& weight) {
  return WidenedMatmul(task, [&](std::int64_t row, std::int64_t rows, float* out) {
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < rows; i += kPanelRows) {
      WidenPanel(weight, (row + i) / kPanelRows, out + i * weight.cols);
    }
  });
}

// Where the processor has no products of bf16, those of f32 are half as fast again as widening in
// the registers: AVX2, 512 rows: 140 GFLOP/s of a peak of 198, and 104.
bool MatmulBf16(MatmulTask task) {
  if (CurrentIsa() != Isa::kAvx512Bf16) {
    return WidenedHalves(task, CurrentKernels().f32_from_bf16);
  }
  thread_local Scratch scratch;
  const std::int64_t values = task.m * task.k;
  auto* rounded =
      reinterpret_cast<std::uint16_t*>(scratch.Floats(static_cast<std::size_t>((values + 1) / 2)));
  Convert(CurrentKernels().bf16_from_f32, static_cast<const float*>(task.x), values, rounded);
  task.x = rounded;
  return Matmul(task);
}

bool LibraryProduct(const LinearOutput& output, const float* x, std::int64_t m) {
  const WeightView& weight = *output.weight;
  const MatmulTask task = {.dtype = weight.dtype,
                           .x = x,
                           .w = weight.data,
                           .bias = output.bias.empty() ? nullptr : output.bias.data(),
                           .y = output.y,
                           .m = m,
                           .n = weight.rows,
                           .k = weight.cols,
                           .y_stride = weight.rows};
  switch (weight.dtype) {
    case DType::kF32:
      return Matmul(task);
    case DType::kF16:
      return WidenedHalves(task, CurrentKernels().f32_from_f16);
    case DType::kBf16:
      return MatmulBf16(task);
    case DType::kInt8:
    case DType::kInt4:
      return WidenedIntegers(task, weight);
  }
  return false;
}
#else
bool LibraryProduct(const LinearOutput&, const float*, std::int64_t) { return false; }
#endif

}  // namespace

std::int64_t WeightBytes(const WeightView& weight) {
  if (IsQuantized(weight.dtype)) return QuantizedBytes(weight.dtype, weight.rows, weight.cols);
  return weight.rows * weight.cols * DTypeBytes(weight.dtype);
}

void Linear(std::span<const LinearOutput> outputs, const float* x, std::int64_t m) {
  if (m == 0) return;
  for (const LinearOutput& output : outputs) {
    ESA_CHECK(output.bias.empty() || std::ssize(output.bias) == output.weight->rows);
    ESA_CHECK(output.weight->cols == outputs.front().weight->cols);
  }
  if (m < kMatrixRows || outputs.front().weight->cols == 0) return OwnProducts(outputs, x, m);
  for (const LinearOutput& output : outputs) {
    if (output.weight->rows == 0 || LibraryProduct(output, x, m)) continue;
    OwnProducts({&output, 1}, x, m);
  }
}

void Linear(const WeightView& weight, std::span<const float> bias, const float* x, std::int64_t m,
            float* y) {
  const LinearOutput output = {.weight = &weight, .bias = bias, .y = y};
  Linear({&output, 1}, x, m);
}

void CopyRow(const WeightView& matrix, std::int64_t index, float* out) {
  ESA_CHECK(index >= 0 && index < matrix.rows);
  const Kernels& kernels = CurrentKernels();
  const std::int64_t begin = index * matrix.cols;
  if (IsQuantized(matrix.dtype)) {
    thread_local Scratch scratch;
    float* rows = scratch.Floats(static_cast<std::size_t>(kPanelRows * matrix.cols));
    WidenPanel(matrix, index / kPanelRows, rows);
    std::copy_n(rows + index % kPanelRows * matrix.cols, matrix.cols, out);
  } else if (matrix.dtype == DType::kF32) {
    std::copy_n(static_cast<const float*>(matrix.data) + begin, matrix.cols, out);
  } else {
    const auto* values = static_cast<const std::uint16_t*>(matrix.data) + begin;
    (matrix.dtype == DType::kF16 ? kernels.f32_from_f16 : kernels.f32_from_bf16)(values,
                                                                                 matrix.cols, out);
  }
}

}  // namespace esa
