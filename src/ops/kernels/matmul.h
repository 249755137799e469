// Products of many rows through oneDNN. Private to ops: linear.cc asks, and computes itself what
// is refused.
#pragma once

#include <cstdint>

#include "ops/linear.h"

namespace esa {

// y[i, n] = dot(x[i], w[n]) + bias[n]; x [m, k] of w's type, y [m, ...] f32 with rows y_stride
// values apart.
struct MatmulTask {
  DType dtype = DType::kF32;  // kF32 or kBf16
  const void* x = nullptr;
  const void* w = nullptr;      // [n, k]
  const float* bias = nullptr;  // [n] or null
  float* y = nullptr;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t y_stride = 0;
};

// False where the library has no fast way on this processor; y is then unspecified.
// Thread-safe; primitives are kept by shape.
bool Matmul(const MatmulTask& task);

}  // namespace esa
