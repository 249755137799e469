// log() of a vector of positive normal values, absolute error below 2e-7 near 1, relative below
// 2e-7 elsewhere; log(1) = 0 exactly.
// Include after one of vec_*.h.
#pragma once

namespace esa {
namespace {

// x = m 2^n with m around 1, and log(m) = 2 atanh(s) with s = (m - 1) / (m + 1), |s| < 0.172, by
// its Taylor polynomial (remainder 6e-9 of log(m)).
inline Floats Log(Floats x) {
  Floats m;
  const Floats n = SplitExponent(x, &m);
  const Floats s = Div(Sub(m, Set(1.0f)), Add(m, Set(1.0f)));
  const Floats square = Mul(s, s);
  Floats p = Set(2.0f / 9);
  p = MulAdd(p, square, Set(2.0f / 7));
  p = MulAdd(p, square, Set(2.0f / 5));
  p = MulAdd(p, square, Set(2.0f / 3));
  p = MulAdd(p, square, Set(2.0f));
  return MulAdd(n, Set(0.69314718f), Mul(p, s));
}

}  // namespace
}  // namespace esa
