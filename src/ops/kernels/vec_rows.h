// Vectors of eight rows, a lane each, for panels of weights, and what else the wrappers share; for
// sources compiled for AVX2 or more.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace esa {
namespace {

using RowInts = __m256i;
using RowFloats = __m256;
inline RowFloats ZeroRows() { return _mm256_setzero_ps(); }
inline RowFloats LoadRowScales(const std::uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline RowFloats MulAddRows(RowInts dots, RowFloats scales, float scale, RowFloats acc) {
  const RowFloats both = _mm256_mul_ps(scales, _mm256_set1_ps(scale));
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), both, acc);
}
// The first `count` rows, with `bias` added where there is one.
inline void StoreRows(float* y, std::int64_t count, RowFloats acc, const float* bias) {
  if (count >= 8) {
    if (bias != nullptr) acc = _mm256_add_ps(acc, _mm256_loadu_ps(bias));
    return _mm256_storeu_ps(y, acc);
  }
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, acc);
  for (std::int64_t r = 0; r < count; ++r) y[r] = lanes[r] + (bias != nullptr ? bias[r] : 0.0f);
}
inline __m128 FourFromInt8(const std::int8_t* p) {
  std::int32_t bytes;
  __builtin_memcpy(&bytes, p, sizeof(bytes));
  return _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(bytes)));
}

// Of pairs of bf16 without signs: the largest of the lower ones, that of the upper ones.
inline void LargestOfFourPairs(__m128i pairs, float* two) {
  __m128i top = _mm_max_epu16(pairs, _mm_unpackhi_epi64(pairs, pairs));
  top = _mm_max_epu16(top, _mm_shuffle_epi32(top, 1));
  const auto pair = static_cast<std::uint32_t>(_mm_cvtsi128_si32(top));
  const std::uint32_t bits[2] = {pair << 16, pair & 0xffff0000u};
  __builtin_memcpy(two, bits, sizeof(bits));
}

}  // namespace
}  // namespace esa
