// Vectors of eight f32 values, for sources compiled for AVX2, FMA and F16C.
// The names are those of vec_avx512.h: the kernels in *.inl.h are written against either.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "ops/kernels/vec_rows.h"

namespace esa {
namespace {

using Floats = __m256;
inline constexpr int kLanes = 8;

// See vec_avx512.h; sixteen registers leave room for four rows of two vectors.
inline constexpr int kWideRows = 4;
inline constexpr int kWideVectors = 2;
inline constexpr int kTallRows = 4;
inline constexpr int kTallVectors = 2;
inline constexpr int kMaxSums = 12;
// Of sums of integers: a product and an addition take a register more between them.
inline constexpr int kWideIntRows = 5;
inline constexpr int kWideIntVectors = 2;
inline constexpr int kTallIntRows = 8;
inline constexpr int kTallIntVectors = 1;

inline __m256i FirstLanes(std::int64_t count) {
  const int lanes = count >= kLanes ? kLanes : count <= 0 ? 0 : static_cast<int>(count);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline Floats Zero() { return _mm256_setzero_ps(); }
inline Floats Set(float x) { return _mm256_set1_ps(x); }
inline Floats Load(const float* p) { return _mm256_loadu_ps(p); }
// The first `count` lanes; `count` may be negative or beyond kLanes. Other lanes: `other`.
inline Floats LoadFirst(const float* p, std::int64_t count, Floats other) {
  const __m256i mask = FirstLanes(count);
  return _mm256_blendv_ps(other, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
}
inline void Store(float* p, Floats x) { _mm256_storeu_ps(p, x); }
inline void StoreFirst(float* p, std::int64_t count, Floats x) {
  _mm256_maskstore_ps(p, FirstLanes(count), x);
}
// x where the lane is one of the first `count`, else zero.
inline Floats KeepFirst(Floats x, std::int64_t count) {
  return _mm256_and_ps(x, _mm256_castsi256_ps(FirstLanes(count)));
}

inline Floats Add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats Sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats Mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats Div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
inline Floats MulAdd(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats NegMulAdd(Floats a, Floats b, Floats c) { return _mm256_fnmadd_ps(a, b, c); }
// b where either is not a number.
inline Floats Max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats Min(Floats a, Floats b) { return _mm256_min_ps(a, b); }
inline Floats Sqrt(Floats x) { return _mm256_sqrt_ps(x); }
inline Floats Round(Floats x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// x * 2^n for integral n in [-126, 127].
inline Floats Scale(Floats x, Floats n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
// x * 2^n, n in the low bits of `bits`, as a signed integer; x and the result normal numbers.
inline Floats AddExponent(Floats x, Floats bits) {
  const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(bits), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), n));
}
// x = mantissa * 2^n, the mantissa in [sqrt(1/2), sqrt(2)); for positive normal x. Returns n.
inline Floats SplitExponent(Floats x, Floats* mantissa) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i n = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x3f3504f3)), 23);
  *mantissa = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(n, 23)));
  return _mm256_cvtepi32_ps(n);
}
// The sums of four vectors.
inline __m128 ReduceAdd4(Floats a, Floats b, Floats c, Floats d) {
  const Floats all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}
inline float ReduceAdd(Floats x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float ReduceMax(Floats x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

// Pairs of bf16: the value at the lower address, the one at the higher.
inline Floats LowerBf16(Floats pairs) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pairs), 16));
}
inline Floats UpperBf16(Floats pairs) {
  return _mm256_and_ps(pairs, _mm256_castsi256_ps(_mm256_set1_epi32(-65536)));
}

inline __m128i Load16(const std::uint16_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline __m128i LoadFirst16(const std::uint16_t* p, std::int64_t count) {
  alignas(16) std::uint16_t values[kLanes] = {};
  for (int i = 0; i < kLanes && i < count; ++i) values[i] = p[i];
  return _mm_load_si128(reinterpret_cast<const __m128i*>(values));
}
inline Floats FromBf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
inline Floats LoadBf16(const std::uint16_t* p) { return FromBf16(Load16(p)); }
inline Floats LoadFirstBf16(const std::uint16_t* p, std::int64_t count) {
  return FromBf16(LoadFirst16(p, count));
}
inline Floats LoadF16(const std::uint16_t* p) { return _mm256_cvtph_ps(Load16(p)); }
inline Floats LoadFirstF16(const std::uint16_t* p, std::int64_t count) {
  return _mm256_cvtph_ps(LoadFirst16(p, count));
}

// Rounded to nearest, ties to even; a NaN stays a (quiet) NaN.
inline void StoreFirstBf16(std::uint16_t* p, std::int64_t count, Floats x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i upper = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, is_nan), 16);
  const __m128i values =
      _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
  if (count >= kLanes) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), values);
  alignas(16) std::uint16_t lanes[kLanes];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), values);
  for (int i = 0; i < count; ++i) p[i] = lanes[i];
}

// Integers: kShorts of 16 bits, or half as many sums of their products of 32 bits.
using Ints = __m256i;
inline constexpr int kShorts = 16;

inline Ints ZeroInts() { return _mm256_setzero_si256(); }
inline Ints LoadInt16(const std::int16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline Ints LoadInt8(const std::int8_t* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// The first `count`, at most kShorts; the others are zero.
inline Ints LoadFirstInt8(const std::int8_t* p, std::int64_t count) {
  alignas(16) std::int8_t values[kShorts] = {};
  for (int i = 0; i < count; ++i) values[i] = p[i];
  return LoadInt8(values);
}
// The two instructions by name: compilers move sums about between them, or add products to each
// other first, and are then short of registers or of decoding.
inline Ints AddProducts(Ints a, Ints b, Ints sums) {
  Ints products;
  asm("vpmaddwd %[b], %[a], %[products]\n\tvpaddd %[products], %[sums], %[sums]"
      : [sums] "+x"(sums), [products] "=&x"(products)
      : [a] "x"(a), [b] "x"(b));
  return sums;
}
inline Ints AddInts(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
inline Floats FloatsFromInts(Ints x) { return _mm256_cvtepi32_ps(x); }
inline Ints BitsOf(Floats x) { return _mm256_castps_si256(x); }
inline Floats FloatsOf(Ints bits) { return _mm256_castsi256_ps(bits); }
// Of pairs of signed bytes, as 16 bits: the one at the lower address, the one at the higher.
inline Ints EvenBytes(Floats units) {
  return _mm256_srai_epi16(_mm256_slli_epi16(_mm256_castps_si256(units), 8), 8);
}
inline Ints OddBytes(Floats units) { return _mm256_srai_epi16(_mm256_castps_si256(units), 8); }
// The bytes of 16 that `upper_halves` names, as signed ones into the upper halves of 16 bits, are
// widened to these; it names none for the lower halves.
inline Floats WidenedBytes(Floats units, __m128i upper_halves) {
  const Ints order = _mm256_broadcastsi128_si256(upper_halves);
  return FloatsOf(_mm256_srai_epi16(_mm256_shuffle_epi8(BitsOf(units), order), 8));
}
// Integers of 16 bits, of each four the first, the third, the second and the fourth.
inline Ints EvenOddShorts(Ints x) {
  return _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(x, 0xd8), 0xd8);
}
inline void StoreShorts(float* p, Ints x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
// Whole numbers as 16 bits, in that order.
inline void StoreEvenOddInt16(float* p, Floats x0, Floats x1) {
  const Ints halves = _mm256_packs_epi32(_mm256_cvtps_epi32(x0), _mm256_cvtps_epi32(x1));
  const Ints ordered = _mm256_permute4x64_epi64(halves, 0xd8);
  StoreShorts(p, EvenOddShorts(ordered));
}
inline void StoreInt16(float* p, Floats x0, Floats x1) {
  const Ints halves = _mm256_packs_epi32(_mm256_cvtps_epi32(x0), _mm256_cvtps_epi32(x1));
  StoreShorts(p, _mm256_permute4x64_epi64(halves, 0xd8));
}
// Whole numbers as 16 bits, lane by lane in pairs; what is no number or too large for 32 bits: 0.
inline Floats PairsOfShorts(Floats lower, Floats upper) {
  return FloatsOf(_mm256_blend_epi16(_mm256_cvtps_epi32(lower),
                                     _mm256_slli_epi32(_mm256_cvtps_epi32(upper), 16), 0xaa));
}
// The larger magnitudes of bf16, of which a NaN is the largest.
inline Ints MaxMagnitudes(Ints magnitudes, Floats pairs) {
  const Ints without_sign = _mm256_and_si256(BitsOf(pairs), _mm256_set1_epi16(0x7fff));
  return _mm256_max_epu16(magnitudes, without_sign);
}
// Of magnitudes: the larger of each pair; the largest of the lower ones and that of the upper.
inline Floats LargerOfBf16(Ints magnitudes) {
  const Ints larger = _mm256_max_epu16(magnitudes, _mm256_srli_epi32(magnitudes, 16));
  return FloatsOf(_mm256_slli_epi32(larger, 16));
}
inline void LargestOfBf16(Ints magnitudes, float* two) {
  LargestOfFourPairs(
      _mm_max_epu16(_mm256_castsi256_si128(magnitudes), _mm256_extracti128_si256(magnitudes, 1)),
      two);
}
inline __m128 ReduceAdd4(Ints a, Ints b, Ints c, Ints d) {
  const Ints all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_cvtepi32_ps(
      _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
}

// The same columns of the rows of a panel, which fill a vector.
inline Floats LoadPanels(const std::byte* first, const std::byte* /*second*/) {
  return _mm256_loadu_ps(reinterpret_cast<const float*>(first));
}
inline Floats LoadPanelScales(const std::byte* first, const std::byte* /*second*/) {
  return LoadF16(reinterpret_cast<const std::uint16_t*>(first));
}
inline Ints SetInts(std::int32_t x) { return _mm256_set1_epi32(x); }
inline Ints LowerFourBits(Ints bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(15)); }
inline Ints UpperFourBits(Ints bytes) { return LowerFourBits(_mm256_srli_epi16(bytes, 4)); }
// Signed bytes to unsigned ones that are 128 larger.
inline Ints FlipSigns(Ints bytes) { return _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)); }
// sums + products of unsigned and signed bytes, two each in 16 bits; then, by twos, as 32 bits.
inline constexpr bool kWideSumsOfBytes = false;
inline Ints AddBytes(Ints unsigned_bytes, Ints signed_bytes, Ints sums) {
  Ints products;
  asm("vpmaddubsw %[b], %[a], %[products]\n\tvpaddw %[products], %[sums], %[sums]"
      : [sums] "+x"(sums), [products] "=&x"(products)
      : [a] "x"(unsigned_bytes), [b] "x"(signed_bytes));
  return sums;
}
inline Ints SumOfBytes(Ints sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

inline __m256i FourOfX(const std::int8_t* x) {
  std::int32_t bytes;
  __builtin_memcpy(&bytes, x, sizeof(bytes));
  return _mm256_set1_epi32(bytes);
}
inline __m256i LoadRows(const std::byte* w) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
}
// x is above -128: the sums of two products then stay within 16 bits.
inline RowInts DotInt8Group(const std::byte* w, const std::int8_t* x, std::int32_t /*sum*/) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    const __m256i four = FourOfX(x + 4 * j);
    const __m256i pairs =
        _mm256_maddubs_epi16(_mm256_abs_epi8(four), _mm256_sign_epi8(LoadRows(w + 32 * j), four));
    sums[j % 2] = _mm256_add_epi32(sums[j % 2], _mm256_madd_epi16(pairs, ones));
  }
  return _mm256_add_epi32(sums[0], sums[1]);
}
// Values are 0 to 15 as they lie: sixteen products of them stay within 16 bits.
inline RowInts DotInt4Group(const std::byte* w, const std::int8_t* x, std::int32_t first) {
  const __m256i low = _mm256_set1_epi8(15);
  __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256i both = LoadRows(w + 32 * j);
    const __m256i lower = _mm256_and_si256(both, low);
    const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
    sums[0] = _mm256_add_epi16(sums[0], _mm256_maddubs_epi16(lower, FourOfX(x + 4 * j)));
    sums[1] = _mm256_add_epi16(sums[1], _mm256_maddubs_epi16(upper, FourOfX(x + 16 + 4 * j)));
  }
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i halves =
      _mm256_add_epi32(_mm256_madd_epi16(sums[0], ones), _mm256_madd_epi16(sums[1], ones));
  return _mm256_add_epi32(halves, _mm256_set1_epi32(first));
}
// Rounds to nearest; within [-127, 127].
inline void StoreInt8(std::int8_t* p, Floats x) {
  const __m256i ints = _mm256_cvtps_epi32(x);
  const __m128i shorts =
      _mm_packs_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(shorts, shorts));
}

// Integers in the order of the values, zero for NaN. Minus zero equals zero.
inline Ints OrderOf(Floats x) {
  const Ints bits = _mm256_castps_si256(_mm256_add_ps(x, _mm256_setzero_ps()));
  const Ints flip =
      _mm256_or_si256(_mm256_srai_epi32(bits, 31), _mm256_set1_epi32(static_cast<int>(1u << 31)));
  const Ints is_number = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_ORD_Q));
  return _mm256_and_si256(is_number, _mm256_xor_si256(bits, flip));
}
inline void StoreFirst32(std::uint32_t* p, std::int64_t count, Ints x) {
  _mm256_maskstore_epi32(reinterpret_cast<int*>(p), FirstLanes(count), x);
}
// A bit for each of kLanes values: whether it is larger than `than`, whether it equals it.
inline std::uint32_t LargerBits(const std::uint32_t* p, std::uint32_t than) {
  const Ints sign = _mm256_set1_epi32(static_cast<int>(1u << 31));
  const Ints values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const Ints larger =
      _mm256_cmpgt_epi32(_mm256_xor_si256(values, sign),
                         _mm256_xor_si256(_mm256_set1_epi32(static_cast<int>(than)), sign));
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(larger)));
}
inline std::uint32_t EqualBits(const std::uint32_t* p, std::uint32_t to) {
  const Ints values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const Ints equal = _mm256_cmpeq_epi32(values, _mm256_set1_epi32(static_cast<int>(to)));
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(equal)));
}
// Writes base + the place of each set bit; up to kLanes values are written.
inline void StorePlaces(std::int32_t* p, std::int32_t base, std::uint32_t bits) {
  for (; bits != 0; bits &= bits - 1) *p++ = base + __builtin_ctz(bits);
}

inline void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
// Into the cache of level 2, which can ask memory for more lines at a time.
inline void PrefetchToL2(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace
}  // namespace esa
