#include "ops/linear.h"

#include <omp.h>

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

// Rows of x that meet a piece of the weights while that is in the cache.
constexpr std::int64_t kPieceRows = 32;

// Weight rows of a piece that many rows of x meet, where there are kernels for it; fewer if there
// are not kPiecesOfThread for each thread.
constexpr std::int64_t kBlockWeightRows = 128;
constexpr std::int64_t kPiecesOfThread = 4;

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
#pragma omp parallel for schedule(static) if (m >= kPanelBlockFrom)
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

struct Piece {
  const LinearOutput* output;
  std::int64_t row, end;  // of weights
  std::int64_t i, m;      // of x
};

bool HasPanelBlocks() { return CurrentKernels().block_int8 != nullptr; }

// Whether there are kernels for many rows of x against these weights.
bool TakesBlocks(const WeightView& weight) { return IsQuantized(weight.dtype) && HasPanelBlocks(); }

void MultiplyPiece(const Piece& piece, const Activations& x) {
  const auto& [output, row, end, i, m] = piece;
  const WeightView& w = *output->weight;
  const float* bias = output->bias.empty() ? nullptr : output->bias.data();
  float* y = output->y + i * w.rows;
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
  PanelProductTask task = {.w = static_cast<const std::byte*>(w.data),
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
  const bool int8 = w.dtype == DType::kInt8;
  if (m < kPanelBlockFrom || !TakesBlocks(w)) {
    return int8 ? kernels.product_int8(task) : kernels.product_int4(task);
  }
  thread_local Scratch scratch;
  task.scratch = scratch.Floats(kPanelScratchFloats);
  int8 ? kernels.block_int8(task) : kernels.block_int4(task);
}

// How a product is cut: weight rows of a piece, whole panels, and rows of x.
struct PieceShape {
  std::int64_t weight_rows;
  std::int64_t x_rows;
};

PieceShape ShapeOfPieces(const WeightView& weight, std::int64_t m) {
  if (TakesBlocks(weight) && m >= kPanelBlockFrom) {
    const std::int64_t blocks = (m + kPanelBlockRows - 1) / kPanelBlockRows;
    const std::int64_t pieces = (kPiecesOfThread * omp_get_max_threads() + blocks - 1) / blocks;
    const std::int64_t rows = weight.rows / pieces / kPanelBlockMultiple * kPanelBlockMultiple;
    return {std::clamp(rows, kPanelBlockMultiple, kBlockWeightRows), kPanelBlockRows};
  }
  const std::int64_t row_bytes =
      std::max<std::int64_t>(WeightBytes(weight) / std::max<std::int64_t>(weight.rows, 1), 1);
  return {std::max(kPieceBytes / row_bytes / kPanelRows * kPanelRows, kPanelRows), kPieceRows};
}

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
    const PieceShape shape = ShapeOfPieces(w, m);
    for (std::int64_t row = 0; row < w.rows; row += shape.weight_rows) {
      const std::int64_t end = std::min(row + shape.weight_rows, w.rows);
      for (std::int64_t i = 0; i < m; i += shape.x_rows) {
        pieces.push_back({&output, row, end, i, std::min(shape.x_rows, m - i)});
      }
    }
  }
  const auto count = static_cast<std::int64_t>(pieces.size());
#pragma omp parallel for schedule(dynamic) if (count > 1)
  for (std::int64_t p = 0; p < count; ++p) {
    MultiplyPiece(pieces[static_cast<std::size_t>(p)], activations);
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

bool IntegersMeetIntegers() { return HasPanelBlocks(); }

void Linear(std::span<const LinearOutput> outputs, const float* x, std::int64_t m) {
  if (m == 0) return;
  for (const LinearOutput& output : outputs) {
    ESA_CHECK(output.bias.empty() || std::ssize(output.bias) == output.weight->rows);
    ESA_CHECK(output.weight->cols == outputs.front().weight->cols);
  }
  const auto is_own = [m](const LinearOutput& output) {
    return m < kMatrixRows || output.weight->cols == 0 || TakesBlocks(*output.weight);
  };
  if (std::ranges::all_of(outputs, is_own)) return OwnProducts(outputs, x, m);
  for (const LinearOutput& output : outputs) {
    if (output.weight->rows == 0) continue;
    if (is_own(output) || !LibraryProduct(output, x, m)) OwnProducts({&output, 1}, x, m);
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
