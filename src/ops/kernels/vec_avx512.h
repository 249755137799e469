// Vectors of sixteen f32 values, for sources compiled for AVX-512 F, BW, DQ and VL.
// The names are those of vec_avx2.h: the kernels in *.inl.h are written against either.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "ops/kernels/vec_rows.h"

namespace esa {
namespace {

using Floats = __m512;
inline constexpr int kLanes = 16;

// How many rows and vectors of a product are kept in registers: as many accumulators as leave
// room for the operands; few enough loads for two a cycle. The tall shape takes a group of seven
// or eight heads in one pass.
inline constexpr int kWideRows = 6;
inline constexpr int kWideVectors = 4;
inline constexpr int kTallRows = 8;
inline constexpr int kTallVectors = 2;
inline constexpr int kMaxSums = 24;
// Of sums of integers.
inline constexpr int kWideIntRows = kWideRows;
inline constexpr int kWideIntVectors = kWideVectors;
inline constexpr int kTallIntRows = kTallRows;
inline constexpr int kTallIntVectors = kTallVectors;

inline __mmask16 FirstLanes(std::int64_t count) {
  if (count >= kLanes) return 0xffff;
  return count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

inline Floats Zero() { return _mm512_setzero_ps(); }
inline Floats Set(float x) { return _mm512_set1_ps(x); }
inline Floats Load(const float* p) { return _mm512_loadu_ps(p); }
// The first `count` lanes; `count` may be negative or beyond kLanes. Other lanes: `other`.
inline Floats LoadFirst(const float* p, std::int64_t count, Floats other) {
  return _mm512_mask_loadu_ps(other, FirstLanes(count), p);
}
inline void Store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
inline void StoreFirst(float* p, std::int64_t count, Floats x) {
  _mm512_mask_storeu_ps(p, FirstLanes(count), x);
}
// x where the lane is one of the first `count`, else zero.
inline Floats KeepFirst(Floats x, std::int64_t count) {
  return _mm512_maskz_mov_ps(FirstLanes(count), x);
}

inline Floats Add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats Sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats Mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats Div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats MulAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats NegMulAdd(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }
// b where either is not a number.
inline Floats Max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats Min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats Sqrt(Floats x) { return _mm512_sqrt_ps(x); }
inline Floats Round(Floats x) { return _mm512_roundscale_ps(x, 0); }
// x * 2^n for integral n.
inline Floats Scale(Floats x, Floats n) { return _mm512_scalef_ps(x, n); }
// x * 2^n, n in the low bits of `bits`, as a signed integer; x and the result normal numbers.
inline Floats AddExponent(Floats x, Floats bits) {
  const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(bits), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), n));
}
// x = mantissa * 2^n, the mantissa in [sqrt(1/2), sqrt(2)); for positive normal x. Returns n.
inline Floats SplitExponent(Floats x, Floats* mantissa) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i n = _mm512_srai_epi32(_mm512_sub_epi32(bits, _mm512_set1_epi32(0x3f3504f3)), 23);
  *mantissa = _mm512_castsi512_ps(_mm512_sub_epi32(bits, _mm512_slli_epi32(n, 23)));
  return _mm512_cvtepi32_ps(n);
}
inline float ReduceAdd(Floats x) { return _mm512_reduce_add_ps(x); }
// The sums of four vectors.
inline __m128 ReduceAdd4(Floats a, Floats b, Floats c, Floats d) {
  const Floats ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const Floats cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
  const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
  const Floats all = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
inline float ReduceMax(Floats x) { return _mm512_reduce_max_ps(x); }

// Pairs of bf16: the value at the lower address, the one at the higher.
inline Floats LowerBf16(Floats pairs) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs), 16));
}
inline Floats UpperBf16(Floats pairs) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(_mm512_castps_si512(pairs), _mm512_set1_epi32(-65536)));
}

inline __m256i LoadFirst16(const std::uint16_t* p, std::int64_t count) {
  return _mm256_maskz_loadu_epi16(FirstLanes(count), p);
}
inline Floats FromBf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
inline Floats LoadBf16(const std::uint16_t* p) {
  return FromBf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Floats LoadFirstBf16(const std::uint16_t* p, std::int64_t count) {
  return FromBf16(LoadFirst16(p, count));
}
inline Floats LoadF16(const std::uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Floats LoadFirstF16(const std::uint16_t* p, std::int64_t count) {
  return _mm512_cvtph_ps(LoadFirst16(p, count));
}

// Rounded to nearest, ties to even; a NaN stays a (quiet) NaN.
inline void StoreFirstBf16(std::uint16_t* p, std::int64_t count, Floats x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  const __m512i chosen = _mm512_mask_mov_epi32(rounded, is_nan, quiet);
  _mm256_mask_storeu_epi16(p, FirstLanes(count),
                           _mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16)));
}

// Integers: kShorts of 16 bits, or half as many sums of their products of 32 bits.
using Ints = __m512i;
inline constexpr int kShorts = 32;

inline Ints ZeroInts() { return _mm512_setzero_si512(); }
inline Ints LoadInt16(const std::int16_t* p) { return _mm512_loadu_si512(p); }
inline Ints LoadInt8(const std::int8_t* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// The first `count`, at most kShorts; the others are zero.
inline Ints LoadFirstInt8(const std::int8_t* p, std::int64_t count) {
  const auto mask = static_cast<__mmask32>((std::uint64_t{1} << count) - 1);
  return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, p));
}
#ifdef __AVX512VNNI__
// GCC 12 copies the sums of these intrinsics, each twice a step, unless told that they stay. Where
// the vectors are emulated (scripts/check_avx512.sh) __AVX512F__ is not defined.
inline Ints DotShorts(Ints sums, Ints a, Ints b) {
#ifdef __AVX512F__
  asm("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(a), "v"(b));
  return sums;
#else
  return _mm512_dpwssd_epi32(sums, a, b);
#endif
}
inline Ints DotBytes(Ints sums, Ints unsigned_bytes, Ints signed_bytes) {
#ifdef __AVX512F__
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(unsigned_bytes), "v"(signed_bytes));
  return sums;
#else
  return _mm512_dpbusd_epi32(sums, unsigned_bytes, signed_bytes);
#endif
}
#endif
inline Ints AddProducts(Ints a, Ints b, Ints sums) {
#ifdef __AVX512VNNI__
  return DotShorts(sums, a, b);
#else
  return _mm512_add_epi32(sums, _mm512_madd_epi16(a, b));
#endif
}
inline Ints AddInts(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline Floats FloatsFromInts(Ints x) { return _mm512_cvtepi32_ps(x); }
inline Ints BitsOf(Floats x) { return _mm512_castps_si512(x); }
inline Floats FloatsOf(Ints bits) { return _mm512_castsi512_ps(bits); }
// Of pairs of signed bytes, as 16 bits: the one at the lower address, the one at the higher.
inline Ints EvenBytes(Floats units) {
  return _mm512_srai_epi16(_mm512_slli_epi16(_mm512_castps_si512(units), 8), 8);
}
inline Ints OddBytes(Floats units) { return _mm512_srai_epi16(_mm512_castps_si512(units), 8); }
// The bytes of 16 that `upper_halves` names, as signed ones into the upper halves of 16 bits, are
// widened to these; it names none for the lower halves.
inline Floats WidenedBytes(Floats units, __m128i upper_halves) {
  const Ints order = _mm512_broadcast_i32x4(upper_halves);
  return FloatsOf(_mm512_srai_epi16(_mm512_shuffle_epi8(BitsOf(units), order), 8));
}
// Integers of 16 bits, of each four the first, the third, the second and the fourth.
inline Ints EvenOddShorts(Ints x) {
  return _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(x, 0xd8), 0xd8);
}
inline void StoreShorts(float* p, Ints x) { _mm512_storeu_si512(p, x); }
inline Ints ShortsOf(Floats x0, Floats x1) {
  const __m256i lower = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x0));
  const __m256i upper = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x1));
  return _mm512_inserti64x4(_mm512_castsi256_si512(lower), upper, 1);
}
// Whole numbers as 16 bits, in that order.
inline void StoreEvenOddInt16(float* p, Floats x0, Floats x1) {
  StoreShorts(p, EvenOddShorts(ShortsOf(x0, x1)));
}
inline void StoreInt16(float* p, Floats x0, Floats x1) { StoreShorts(p, ShortsOf(x0, x1)); }
// Whole numbers as 16 bits, lane by lane in pairs; what is no number or too large for 32 bits: 0.
inline Floats PairsOfShorts(Floats lower, Floats upper) {
  return FloatsOf(_mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_cvtps_epi32(lower),
                                          _mm512_slli_epi32(_mm512_cvtps_epi32(upper), 16)));
}
// The larger magnitudes of bf16, of which a NaN is the largest.
inline Ints MaxMagnitudes(Ints magnitudes, Floats pairs) {
  const Ints without_sign = _mm512_and_si512(BitsOf(pairs), _mm512_set1_epi16(0x7fff));
  return _mm512_max_epu16(magnitudes, without_sign);
}
// Of magnitudes: the larger of each pair; the largest of the lower ones and that of the upper.
inline Floats LargerOfBf16(Ints magnitudes) {
  const Ints larger = _mm512_max_epu16(magnitudes, _mm512_srli_epi32(magnitudes, 16));
  return FloatsOf(_mm512_slli_epi32(larger, 16));
}
inline void LargestOfBf16(Ints magnitudes, float* two) {
  const __m256i half = _mm256_max_epu16(_mm512_castsi512_si256(magnitudes),
                                        _mm512_extracti32x8_epi32(magnitudes, 1));
  LargestOfFourPairs(_mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)),
                     two);
}
inline __m128 ReduceAdd4(Ints a, Ints b, Ints c, Ints d) {
  const Ints ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const Ints cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const Ints all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half =
      _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti32x8_epi32(all, 1));
  return _mm_cvtepi32_ps(
      _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}

// Four values of x in each of the lower eight lanes, the four behind them in the upper ones.
inline __m512i EightOfX(const std::int8_t* x) {
  std::int64_t bytes;
  __builtin_memcpy(&bytes, x, sizeof(bytes));
  const __m512i order = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  return _mm512_permutexvar_epi32(order, _mm512_set1_epi64(bytes));
}
// sums + products of unsigned and signed bytes by fours.
inline __m512i AddByteProducts(__m512i sums, __m512i unsigned_bytes, __m512i signed_bytes) {
#ifdef __AVX512VNNI__
  return DotBytes(sums, unsigned_bytes, signed_bytes);
#else
  const __m512i pairs = _mm512_maddubs_epi16(unsigned_bytes, signed_bytes);
  return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#endif
}
// sums + products of unsigned and signed bytes, four each in 32 bits or two in 16; then as 32 bits.
#ifdef __AVX512VNNI__
inline constexpr bool kWideSumsOfBytes = true;
inline Ints AddBytes(Ints unsigned_bytes, Ints signed_bytes, Ints sums) {
  return AddByteProducts(sums, unsigned_bytes, signed_bytes);
}
inline Ints SumOfBytes(Ints sums) { return sums; }
#else
inline constexpr bool kWideSumsOfBytes = false;
inline Ints AddBytes(Ints unsigned_bytes, Ints signed_bytes, Ints sums) {
  return _mm512_add_epi16(sums, _mm512_maddubs_epi16(unsigned_bytes, signed_bytes));
}
inline Ints SumOfBytes(Ints sums) { return _mm512_madd_epi16(sums, _mm512_set1_epi16(1)); }
#endif
// The same columns of the rows of two panels.
inline Floats LoadPanels(const std::byte* first, const std::byte* second) {
  const __m256 lower = _mm256_loadu_ps(reinterpret_cast<const float*>(first));
  return _mm512_insertf32x8(_mm512_castps256_ps512(lower),
                            _mm256_loadu_ps(reinterpret_cast<const float*>(second)), 1);
}
inline Floats LoadPanelScales(const std::byte* first, const std::byte* second) {
  const __m128i lower = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
  const __m128i upper = _mm_loadu_si128(reinterpret_cast<const __m128i*>(second));
  return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(lower), upper, 1));
}
inline Ints SetInts(std::int32_t x) { return _mm512_set1_epi32(x); }
inline Ints LowerFourBits(Ints bytes) { return _mm512_and_si512(bytes, _mm512_set1_epi8(15)); }
inline Ints UpperFourBits(Ints bytes) { return LowerFourBits(_mm512_srli_epi16(bytes, 4)); }
// Signed bytes to unsigned ones that are 128 larger.
inline Ints FlipSigns(Ints bytes) { return _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)); }
inline RowInts AddHalves(__m512i sums) {
  return _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti32x8_epi32(sums, 1));
}
// x is above -128; `sum`: of its values.
inline RowInts DotInt8Group(const std::byte* w, const std::int8_t* x, std::int32_t sum) {
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i eight = EightOfX(x + 8 * j);
    const __m512i rows = _mm512_loadu_si512(w + 64 * j);
    if constexpr (kWideSumsOfBytes) {
      sums[j % 2] = AddByteProducts(sums[j % 2], FlipSigns(rows), eight);
    } else {
      // Signs go to the weights: the sums of two products then stay within 16 bits.
      const __m512i turned =
          _mm512_mask_sub_epi8(rows, _mm512_movepi8_mask(eight), _mm512_setzero_si512(), rows);
      sums[j % 2] = AddByteProducts(sums[j % 2], _mm512_abs_epi8(eight), turned);
    }
  }
  const RowInts dots = AddHalves(_mm512_add_epi32(sums[0], sums[1]));
  const std::int32_t added = kWideSumsOfBytes ? 128 * sum : 0;  // by FlipSigns()
  return _mm256_sub_epi32(dots, _mm256_set1_epi32(added));
}
// Values are 0 to 15 as they lie.
inline RowInts DotInt4Group(const std::byte* w, const std::int8_t* x, std::int32_t first) {
  const __m512i low = _mm512_set1_epi8(15);
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
#pragma GCC unroll 2
  for (int j = 0; j < 2; ++j) {
    const __m512i both = _mm512_loadu_si512(w + 64 * j);
    const __m512i lower = _mm512_and_si512(both, low);
    const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    sums[0] = AddByteProducts(sums[0], lower, EightOfX(x + 8 * j));
    sums[1] = AddByteProducts(sums[1], upper, EightOfX(x + 16 + 8 * j));
  }
  return _mm256_add_epi32(AddHalves(_mm512_add_epi32(sums[0], sums[1])), _mm256_set1_epi32(first));
}
// Rounds to nearest; within [-127, 127].
inline void StoreInt8(std::int8_t* p, Floats x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
}

// Integers in the order of the values, zero for NaN. Minus zero equals zero.
inline Ints OrderOf(Floats x) {
  const Ints bits = _mm512_castps_si512(_mm512_add_ps(x, _mm512_setzero_ps()));
  const Ints flip =
      _mm512_or_si512(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(static_cast<int>(1u << 31)));
  return _mm512_maskz_xor_epi32(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), bits, flip);
}
inline void StoreFirst32(std::uint32_t* p, std::int64_t count, Ints x) {
  _mm512_mask_storeu_epi32(p, FirstLanes(count), x);
}
// A bit for each of kLanes values: whether it is larger than `than`, whether it equals it.
inline std::uint32_t LargerBits(const std::uint32_t* p, std::uint32_t than) {
  return _mm512_cmpgt_epu32_mask(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(than)));
}
inline std::uint32_t EqualBits(const std::uint32_t* p, std::uint32_t to) {
  return _mm512_cmpeq_epu32_mask(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(to)));
}
// Writes base + the place of each set bit; kLanes values are written, those that count come first.
inline void StorePlaces(std::int32_t* p, std::int32_t base, std::uint32_t bits) {
  const Ints places =
      _mm512_add_epi32(_mm512_set1_epi32(base),
                       _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  // To memory it is a slow instruction on some processors, in registers never.
  _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(static_cast<__mmask16>(bits), places));
}

inline void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
// Into the cache of level 2, which can ask memory for more lines at a time.
inline void PrefetchToL2(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace
}  // namespace esa
