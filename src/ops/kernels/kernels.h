// The kernels of one instruction set as a table of plain functions: what isa.cc chooses from.
//
// Each source of this folder is compiled as a whole for its instruction set. Whatever it emits
// with external linkage the linker may use anywhere, also on a lesser processor; so these sources
// keep everything but their table in unnamed namespaces and call no inline function of another
// header.
// Threading: the kernels hold no state and start no threads.
#pragma once

#include <cstdint>

#include "ops/attention.h"
#include "ops/isa.h"

namespace esa {

// Four values, as the sums of four vectors are.
typedef float Fours __attribute__((vector_size(16)));
static inline Fours LoadFours(const float* p) {
  Fours values;
  __builtin_memcpy(&values, p, sizeof(values));
  return values;
}

// Query rows against slices of one KV head, to a state that can be merged with others: row r has
// attended with weights exp(score - max[r]), which add up to sum[r] and give acc[r].
// Rows are numbered token by token: row = token * group + head.
struct AttendTask {
  int block_tokens = 0;
  int head_dim = 0;
  const SliceView* slices = nullptr;  // [num_slices]
  std::int64_t num_slices = 0;
  const std::byte* next = nullptr;  // a slice that is likely to be read after these, or null
  const float* q = nullptr;         // [num_tokens, group, head_dim], tokens row_stride values apart
  std::int64_t row_stride = 0;
  int num_tokens = 0;
  int group = 0;
  std::int64_t first_position = 0;  // token i attends to positions up to first_position + i
  float scale = 1;
  float* scratch = nullptr;  // [AttendScratch()]
  float* max = nullptr;      // [rows]; -inf where nothing was attended
  float* sum = nullptr;      // [rows]
  float* acc = nullptr;      // [rows, head_dim]
};

inline constexpr int kRowPadding = 32;  // values; at least two vectors of every instruction set

// Values of scratch for `rows` query rows: queries, scores (then probabilities), five factors; a
// factor for each token and one row of the V tile.
inline std::int64_t AttendScratch(int block_tokens, int head_dim, std::int64_t rows) {
  return rows * (block_tokens + head_dim + 2 * kRowPadding + 5) + block_tokens + head_dim +
         2 * kRowPadding;
}

// Of a tile in another form and its tokens' scales, for kernels that are for many rows. Static:
// each source has to keep its own code.
static inline std::int64_t AttendTileScratch(int block_tokens, int head_dim) {
  const std::int64_t units = std::int64_t{block_tokens} * head_dim / 2;
  return (units + block_tokens + 2 * kRowPadding) / kRowPadding * kRowPadding;
}

// Tokens of a block beyond which their probabilities would have too few bits in a sum of products.
inline constexpr int kAttendRowsTokens = 256;

// y[i, n] = dot(x[i], w[n]) + bias[n] for the weight rows n in [row_begin, row_end).
struct ProductTask {
  const void* w = nullptr;  // [rows, cols]
  std::int64_t cols = 0;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  const float* x = nullptr;  // [m, cols]
  std::int64_t m = 0;
  const float* bias = nullptr;  // [rows] or null
  float* y = nullptr;           // [m, ...], rows y_stride values apart
  std::int64_t y_stride = 0;
};

// Weights as integers lie in panels of kPanelRows rows, so that each vector that is read holds the
// same columns of all of them and no sum has to be taken across a vector:
//
//   scales   f16, [groups][kPanelRows], padded to kPanelAlignment
//   values   [groups], each kGroupValues columns: int8 [columns / 4][kPanelRows][4], or int4
//            [columns / 8][kPanelRows][4], column c + kGroupValues / 2 in the upper half of the
//            byte of column c, 8 too large
//
// Rows and columns that are not there are zero.
inline constexpr std::int64_t kGroupValues = 32;  // values of a row that share a scale
inline constexpr std::int64_t kPanelRows = 8;
inline constexpr std::int64_t kPanelAlignment = 64;

// Of a row of `cols` values. Static, as the two below: each source has to keep its own code.
static inline std::int64_t GroupsOf(std::int64_t cols) {
  return (cols + kGroupValues - 1) / kGroupValues;
}
static inline std::int64_t PanelScaleBytes(std::int64_t groups) {
  const std::int64_t bytes = groups * kPanelRows * 2;
  return (bytes + kPanelAlignment - 1) / kPanelAlignment * kPanelAlignment;
}
static inline std::int64_t PanelBytes(std::int64_t groups, bool int4) {
  return PanelScaleBytes(groups) + groups * kPanelRows * kGroupValues / (int4 ? 2 : 1);
}

// y[i, n] = dot(x[i], w[n]) + bias[n] for the weight rows n of the panels [panel_begin, panel_end),
// the values of a group being its integers times its scale.
struct PanelProductTask {
  const std::byte* w = nullptr;  // panels
  std::int64_t rows = 0;         // of the whole matrix
  std::int64_t groups = 0;
  std::int64_t panel_begin = 0;
  std::int64_t panel_end = 0;
  const std::int8_t* x = nullptr;        // [m, groups * kGroupValues] in [-127, 127]
  const float* x_scales = nullptr;       // [m, groups]
  const std::int32_t* x_sums = nullptr;  // [m, groups], of the integers
  std::int64_t m = 0;
  const float* bias = nullptr;  // [rows] or null
  float* y = nullptr;           // [m, ...], rows y_stride values apart
  std::int64_t y_stride = 0;
  float* scratch = nullptr;  // [kPanelScratchFloats], aligned to 64 bytes, of a block
};

// Rows of x of a block: from kPanelBlockFrom on weights are worth bringing into another form first.
inline constexpr std::int64_t kPanelBlockFrom = 8;
inline constexpr std::int64_t kPanelBlockRows = 128;
inline constexpr std::int64_t kPanelBlockMultiple = 64;  // rows of weights: the widest tile
inline constexpr std::int64_t kPanelScratchFloats = 50 << 10;

// scores[r * stride + i] (+)= dot(row i, query r).
struct DotRowsTask {
  const void* rows = nullptr;     // [count, dim]
  const float* scales = nullptr;  // [count], for int8 rows
  std::int64_t dim = 0;
  std::int64_t count = 0;
  // [num_queries, query_stride]: f32; for int8 rows int16 with zeros after `dim` values, so small
  // that no sum of products overflows 32 bits, in units of query_scales [num_queries].
  const void* queries = nullptr;
  const float* query_scales = nullptr;
  std::int64_t query_stride = 0;
  int num_queries = 0;
  float* scores = nullptr;  // [num_queries, count], rows `stride` values apart
  std::int64_t stride = 0;
  bool add = false;
};

inline constexpr std::int64_t kQueryPadding = 32;  // int16 values: the widest vector

// See CodeMatches in ops/retrieval_kernels.h.
struct CodeMatchTask {
  const std::uint64_t* codes = nullptr;  // [count, group, words]
  std::int64_t count = 0;
  int group = 0;
  int words = 0;
  const std::uint64_t* queries = nullptr;  // [num_queries, words]
  int num_queries = 0;
  float* matches = nullptr;  // [num_queries, count], rows `stride` values apart
  std::int64_t stride = 0;
};

// Indices, in order, of what is larger than the threshold and of the first `equals` of what equals
// it.
struct TakeTask {
  const std::uint32_t* values = nullptr;  // [count]
  std::int64_t count = 0;
  std::uint32_t threshold = 0;
  std::int64_t equals = 0;
  std::int32_t* indices = nullptr;  // with room for kTakePadding more
};

inline constexpr std::int64_t kTakePadding = 16;  // values: the widest vector

// Arithmetic alone: run(rounds) does rounds * operations of it. Its result means nothing.
struct ArithmeticProbe {
  float (*run)(std::int64_t rounds) = nullptr;  // null: the processor has no such instructions
  std::int64_t operations = 0;
};

struct Kernels {
  void (*attend_bf16)(const AttendTask&);
  void (*attend_f32)(const AttendTask&);
  void (*attend_int8)(const AttendTask&);
  // The same of many query rows, at most kAttendRowsTokens tokens a block, with room for
  // AttendTileScratch() more of scratch; null: there are none.
  void (*attend_rows_bf16)(const AttendTask&);
  void (*attend_rows_int8)(const AttendTask&);
  void (*product_bf16)(const ProductTask&);
  void (*product_f16)(const ProductTask&);
  void (*product_f32)(const ProductTask&);
  void (*product_int8)(const PanelProductTask&);
  void (*product_int4)(const PanelProductTask&);
  // The same of kPanelBlockFrom to kPanelBlockRows rows of x; null: there are none.
  void (*block_int8)(const PanelProductTask&);
  void (*block_int4)(const PanelProductTask&);
  // [n] to whole groups of int8 in [-127, 127], their scales and sums: zeros behind the end of x.
  void (*int8_from_f32)(const float* x, std::int64_t n, std::int8_t* values, float* scales,
                        std::int32_t* sums);
  // The n columns of a panel: y [kPanelRows, n].
  void (*f32_from_int8)(const std::byte* panel, std::int64_t n, float* y);
  void (*f32_from_int4)(const std::byte* panel, std::int64_t n, float* y);
  void (*dot_rows_f32)(const DotRowsTask&);
  void (*dot_rows_bf16)(const DotRowsTask&);
  void (*dot_rows_int8)(const DotRowsTask&);
  void (*code_matches)(const CodeMatchTask&);
  // Integers in the order of x, zero for NaN; minus zero equals zero. [n]
  void (*order_of)(const float* x, std::int64_t n, std::uint32_t* order);
  void (*take_largest)(const TakeTask&);
  // y[i] = log of the sum over j of exp(x[j * n + i]); x [num_terms, n].
  void (*log_sum_exp)(const float* x, int num_terms, std::int64_t n, float* y);
  // sums[i] += the share of exp(scale * scores[i]) in their sum; overwrites scores. [n]
  void (*add_soft_max)(float* scores, std::int64_t n, float scale, float* sums);
  // y += factor * sqrt(max(x, 0)), [n].
  void (*add_square_roots)(const float* x, std::int64_t n, float factor, float* y);
  // One row: y = x / sqrt(mean(x^2) + eps) * weight, [n].
  void (*rms_norm)(const float* x, const float* weight, std::int64_t n, float eps, float* y);
  // One head: (x[i], x[i + half]) turned by the angle whose cosine and sine are given, [half].
  void (*rotate)(float* x, const float* cosine, const float* sine, std::int64_t half);
  void (*swiglu)(const float* gate, const float* up, std::int64_t n, float* y);
  void (*add)(const float* x, std::int64_t n, float* y);
  void (*f32_from_bf16)(const std::uint16_t* x, std::int64_t n, float* y);
  void (*f32_from_f16)(const std::uint16_t* x, std::int64_t n, float* y);
  void (*bf16_from_f32)(const float* x, std::int64_t n, std::uint16_t* y);
  ArithmeticProbe probe_f32;
  ArithmeticProbe probe_bf16;
};

extern const Kernels kScalarKernels;
#ifdef ESA_VECTOR128_KERNELS
// Puts those that there are into the reference's places.
void TakeVector128Kernels(Kernels* kernels);
#endif
#ifdef ESA_X86_KERNELS
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
void AttendBf16Avx512Bf16(const AttendTask& task);
extern const ArithmeticProbe kProbeAvx512Bf16;
void ProductInt8Avx512Vnni(const PanelProductTask& task);
void ProductInt4Avx512Vnni(const PanelProductTask& task);
void BlockInt8Avx512Vnni(const PanelProductTask& task);
void BlockInt4Avx512Vnni(const PanelProductTask& task);
void AttendInt8Avx512Vnni(const AttendTask& task);
void AttendRowsInt8Avx512Vnni(const AttendTask& task);
void CodeMatchesAvx512Popcount(const CodeMatchTask& task);
#endif

// Those of CurrentIsa().
const Kernels& CurrentKernels();

}  // namespace esa
