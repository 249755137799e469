// Arithmetic alone, for what a processor reaches at most.
// Include after one of vec_*.h.
#pragma once

#include "ops/kernels/kernels.h"

namespace esa {
namespace {

// Independent chains: a multiply-add takes four or five cycles and two begin in each.
inline constexpr int kChains = 12;

float MulAddChains(std::int64_t rounds) {
  Floats sums[kChains];
  const Floats factor = Set(0.999f);
  const Floats term = Set(1e-3f);
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sums[i] = Set(static_cast<float>(i));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sums[i] = MulAdd(sums[i], factor, term);
  }
  Floats sum = Zero();
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sum = Add(sum, sums[i]);
  return ReduceAdd(sum);
}

}  // namespace
}  // namespace esa
