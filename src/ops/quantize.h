// Weights as small integers: rows in groups of 32 values, each group with one scale in f16.
//
// The formats are those of GGUF's Q8_0 and Q4_0 (ggml-org/ggml, docs/gguf.md and ggml-common.h),
// with values and scales in arrays of their own, so that values are read in whole vectors.
// Threading: pure functions.
#pragma once

#include <cstdint>

#include "ops/linear.h"

namespace esa {

// Groups of a row of `cols` values; the last one is padded with zeros.
std::int64_t GroupsOf(std::int64_t cols);

// Bytes of the values of [rows, cols] as kInt8 or kInt4, with those that kernels read behind the
// end; and of the scales.
std::int64_t GroupedValueBytes(DType dtype, std::int64_t rows, std::int64_t cols);
std::int64_t GroupedScaleBytes(std::int64_t rows, std::int64_t cols);

// One row: values [GroupsOf(cols)] groups, scales [GroupsOf(cols)]. kInt8: the largest magnitude
// of a group is 127; kInt4: it is -8. A value errs by half a scale at most, and by the rounding of
// the scale; kInt4 by a whole one at the other end.
void QuantizeRow(DType dtype, const float* row, std::int64_t cols, void* values,
                 std::uint16_t* scales);

}  // namespace esa
