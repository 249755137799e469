// Weights as small integers: groups of 32 values of a row with one scale in f16, as in GGUF's Q8_0
// and Q4_0 (ggml-org/ggml, docs/gguf.md), eight rows to a panel (ops/kernels/kernels.h).
//
// Threading: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/linear.h"

namespace esa {

inline constexpr std::int64_t kQuantizedRows = 8;  // of a panel

// Bytes of the whole matrix, and of one panel of it. dtype: kInt8 or kInt4.
std::int64_t QuantizedBytes(DType dtype, std::int64_t rows, std::int64_t cols);
std::int64_t QuantizedPanelBytes(DType dtype, std::int64_t cols);

// One panel, zero before, from up to kQuantizedRows rows of f32 [rows, cols]. kInt8: the largest
// magnitude of a group is 127; kInt4: it is -8. A value errs by half a scale at most, and by the
// rounding of the scale; kInt4 by a whole one at the other end.
void QuantizePanel(DType dtype, const float* rows, std::int64_t num_rows, std::int64_t cols,
                   std::byte* panel);

}  // namespace esa
