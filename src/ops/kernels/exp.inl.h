// Exponentials of a vector. Exp(): relative error below 3e-7, exp(0) = 1 exactly.
// Include after one of vec_*.h.
#pragma once

namespace esa {
namespace {

inline constexpr float kLog2E = 1.44269504f;

// exp(x) = 2^n exp(r) with |r| <= ln(2) / 2, ln(2) split in two so that r is exact to f32, and
// exp(r) by its Taylor polynomial (remainder 1.2e-7). The argument is clamped to where 2^n is a
// normal number; a NaN stays one.
inline Floats Exp(Floats x) {
  x = Min(Set(88.3f), Max(Set(-87.3f), x));
  const Floats n = Round(Mul(x, Set(kLog2E)));
  Floats r = NegMulAdd(n, Set(0.693359375f), x);
  r = NegMulAdd(n, Set(-2.12194440e-4f), r);
  Floats p = Set(1.0f / 720);
  p = MulAdd(p, r, Set(1.0f / 120));
  p = MulAdd(p, r, Set(1.0f / 24));
  p = MulAdd(p, r, Set(1.0f / 6));
  p = MulAdd(p, r, Set(0.5f));
  p = MulAdd(p, r, Set(1.0f));
  p = MulAdd(p, r, Set(1.0f));
  return Scale(p, n);
}

// 2^x for x <= 0, relative error below 2e-7, Exp2(0) = 1 exactly; x below -126 counts as -126, a
// NaN stays one. The polynomial is 1 + r q(r) with the least relative error for |r| <= 1/2.
inline Floats Exp2(Floats x) {
  // Adding it leaves no bits for a fraction: the sum's low bits are the nearest integer.
  const Floats rounder = Set(12582912.0f);
  x = Max(Set(-126.0f), x);
  const Floats rounded = Add(x, rounder);
  const Floats r = Sub(x, Sub(rounded, rounder));
  Floats p = Set(1.326472731e-3f);
  p = MulAdd(p, r, Set(9.671512991e-3f));
  p = MulAdd(p, r, Set(5.550733581e-2f));
  p = MulAdd(p, r, Set(2.402224243e-1f));
  p = MulAdd(p, r, Set(6.931470037e-1f));
  p = MulAdd(p, r, Set(1.0f));
  return AddExponent(p, rounded);
}

}  // namespace
}  // namespace esa
