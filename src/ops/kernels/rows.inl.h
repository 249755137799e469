// Norms, activations, rotations and conversions of one row.
// Include after one of vec_*.h.
#pragma once

#include "ops/kernels/exp.inl.h"
#include "ops/kernels/kernels.h"

namespace esa {
namespace {

// y[i] = op(i, count): the last vector is told how many lanes count.
template <class Op>
inline void ForEachVector(std::int64_t n, float* y, Op op) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, op(i, kLanes));
  if (i < n) StoreFirst(y + i, n - i, op(i, n - i));
}

void RmsNormRow(const float* x, const float* weight, std::int64_t n, float eps, float* y) {
  Floats sum0 = Zero();
  Floats sum1 = Zero();
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const Floats x0 = Load(x + i);
    const Floats x1 = Load(x + i + kLanes);
    sum0 = MulAdd(x0, x0, sum0);
    sum1 = MulAdd(x1, x1, sum1);
  }
  for (; i < n; i += kLanes) {
    const Floats rest = LoadFirst(x + i, n - i, Zero());
    sum0 = MulAdd(rest, rest, sum0);
  }
  const float mean = ReduceAdd(Add(sum0, sum1)) / static_cast<float>(n);
  const Floats factor = Set(1.0f / __builtin_sqrtf(mean + eps));
  ForEachVector(n, y, [=](std::int64_t at, std::int64_t count) {
    return Mul(Mul(LoadFirst(x + at, count, Zero()), factor),
               LoadFirst(weight + at, count, Zero()));
  });
}

void RotateHead(float* x, const float* cosine, const float* sine, std::int64_t half) {
  for (std::int64_t i = 0; i < half; i += kLanes) {
    const std::int64_t count = half - i;
    const Floats a = LoadFirst(x + i, count, Zero());
    const Floats b = LoadFirst(x + half + i, count, Zero());
    const Floats c = LoadFirst(cosine + i, count, Zero());
    const Floats s = LoadFirst(sine + i, count, Zero());
    StoreFirst(x + i, count, NegMulAdd(b, s, Mul(a, c)));
    StoreFirst(x + half + i, count, MulAdd(a, s, Mul(b, c)));
  }
}

void SwiGluRow(const float* gate, const float* up, std::int64_t n, float* y) {
  ForEachVector(n, y, [=](std::int64_t at, std::int64_t count) {
    const Floats g = LoadFirst(gate + at, count, Zero());
    const Floats silu = Div(g, Add(Set(1.0f), Exp(Sub(Zero(), g))));
    return Mul(silu, LoadFirst(up + at, count, Zero()));
  });
}

void AddRow(const float* x, std::int64_t n, float* y) {
  ForEachVector(n, y, [=](std::int64_t at, std::int64_t count) {
    return Add(LoadFirst(y + at, count, Zero()), LoadFirst(x + at, count, Zero()));
  });
}

void F32FromBf16Row(const std::uint16_t* x, std::int64_t n, float* y) {
  ForEachVector(n, y, [=](std::int64_t at, std::int64_t count) {
    return count == kLanes ? LoadBf16(x + at) : LoadFirstBf16(x + at, count);
  });
}

void F32FromF16Row(const std::uint16_t* x, std::int64_t n, float* y) {
  ForEachVector(n, y, [=](std::int64_t at, std::int64_t count) {
    return count == kLanes ? LoadF16(x + at) : LoadFirstF16(x + at, count);
  });
}

void Bf16FromF32Row(const float* x, std::int64_t n, std::uint16_t* y) {
  for (std::int64_t i = 0; i < n; i += kLanes) {
    StoreFirstBf16(y + i, n - i, LoadFirst(x + i, n - i, Zero()));
  }
}

}  // namespace
}  // namespace esa
