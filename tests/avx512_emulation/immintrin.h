// Stands in for the compiler's <immintrin.h> where kernels for AVX-512 are checked on a processor
// without it: SIMDe in plain C++, and here what SIMDe 0.7.4 lacks of what the kernels use.
// For scripts/check_avx512.sh only.
#pragma once

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

using __mmask8 = simde__mmask8;
using __mmask16 = simde__mmask16;
using __mmask32 = simde__mmask32;
using __mmask64 = simde__mmask64;

namespace esa_emulation {

template <class Lane, class Vector>
struct Lanes {
  static constexpr int kCount = static_cast<int>(sizeof(Vector) / sizeof(Lane));

  Lanes() { std::memset(at, 0, sizeof(at)); }
  explicit Lanes(Vector x) { std::memcpy(at, &x, sizeof(at)); }
  operator Vector() const {
    Vector x;
    std::memcpy(&x, at, sizeof(at));
    return x;
  }

  Lane at[kCount];
};

template <class Lane>
using Of512 = Lanes<Lane, simde__m512i>;
template <class Lane>
using Of256 = Lanes<Lane, simde__m256i>;
using Floats512 = Lanes<float, simde__m512>;

template <class L, class Mask>
L LoadMasked(L other, Mask mask, const void* from) {
  for (int i = 0; i < L::kCount; ++i) {
    if (mask >> i & 1) {
      std::memcpy(other.at + i, static_cast<const char*>(from) + i * sizeof(*other.at),
                  sizeof(*other.at));
    }
  }
  return other;
}

template <class L, class Mask>
void StoreMasked(void* to, Mask mask, const L& x) {
  for (int i = 0; i < L::kCount; ++i) {
    if (mask >> i & 1) {
      std::memcpy(static_cast<char*>(to) + i * sizeof(*x.at), x.at + i, sizeof(*x.at));
    }
  }
}

template <class Half, class Whole>
Half UpperOrLower(Whole x, int upper) {
  Half half;
  std::memcpy(&half, reinterpret_cast<const char*>(&x) + upper * sizeof(half), sizeof(half));
  return half;
}

// Of each four lanes from `base` on in groups of `group`, those that two bits of `order` each name.
template <class Lane>
simde__m512i Shuffled(simde__m512i x, int order, int group, int base) {
  const Of512<Lane> from(x);
  Of512<Lane> to(x);
  for (int first = base; first < Of512<Lane>::kCount; first += group) {
    for (int i = 0; i < 4; ++i) to.at[first + i] = from.at[first + (order >> (2 * i) & 3)];
  }
  return to;
}

// As the processor's: in halves.
template <class Add>
float Reduced(simde__m512 x, Add add) {
  Floats512 lanes(x);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes.at[i] = add(lanes.at[i], lanes.at[i + half]);
  }
  return lanes.at[0];
}

inline std::uint16_t Bf16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if (std::isnan(x)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace esa_emulation

static inline simde__m512 _mm512_mask_loadu_ps(simde__m512 other, __mmask16 mask, const void* p) {
  return LoadMasked(esa_emulation::Floats512(other), mask, p);
}
static inline void _mm512_mask_storeu_ps(void* p, __mmask16 mask, simde__m512 x) {
  StoreMasked(p, mask, esa_emulation::Floats512(x));
}
static inline void _mm512_mask_storeu_epi32(void* p, __mmask16 mask, simde__m512i x) {
  StoreMasked(p, mask, esa_emulation::Of512<std::int32_t>(x));
}
static inline void _mm256_mask_storeu_epi16(void* p, __mmask16 mask, simde__m256i x) {
  StoreMasked(p, mask, esa_emulation::Of256<std::int16_t>(x));
}
static inline simde__m256i _mm256_maskz_loadu_epi16(__mmask16 mask, const void* p) {
  return LoadMasked(esa_emulation::Of256<std::int16_t>(), mask, p);
}
static inline simde__m256i _mm256_maskz_loadu_epi8(__mmask32 mask, const void* p) {
  return LoadMasked(esa_emulation::Of256<std::int8_t>(), mask, p);
}
static inline simde__m512i _mm512_maskz_loadu_epi64(__mmask8 mask, const void* p) {
  return LoadMasked(esa_emulation::Of512<std::int64_t>(), mask, p);
}

static inline simde__m256 _mm512_extractf32x8_ps(simde__m512 x, int upper) {
  return esa_emulation::UpperOrLower<simde__m256>(x, upper);
}
static inline simde__m256i _mm512_extracti32x8_epi32(simde__m512i x, int upper) {
  return esa_emulation::UpperOrLower<simde__m256i>(x, upper);
}

static inline simde__m512i _mm512_cvtps_epi32(simde__m512 x) {
  const esa_emulation::Floats512 from(x);
  esa_emulation::Of512<std::int32_t> to;
  for (int i = 0; i < 16; ++i) to.at[i] = static_cast<std::int32_t>(std::nearbyint(from.at[i]));
  return to;
}
static inline simde__m512 _mm512_cvtepi32_ps(simde__m512i x) {
  const esa_emulation::Of512<std::int32_t> from(x);
  esa_emulation::Floats512 to;
  for (int i = 0; i < 16; ++i) to.at[i] = static_cast<float>(from.at[i]);
  return to;
}
static inline simde__m512i _mm512_cvtepu16_epi32(simde__m256i x) {
  const esa_emulation::Of256<std::uint16_t> from(x);
  esa_emulation::Of512<std::int32_t> to;
  for (int i = 0; i < 16; ++i) to.at[i] = from.at[i];
  return to;
}
static inline simde__m256i _mm512_cvtepi32_epi16(simde__m512i x) {
  const esa_emulation::Of512<std::int32_t> from(x);
  esa_emulation::Of256<std::int16_t> to;
  for (int i = 0; i < 16; ++i) to.at[i] = static_cast<std::int16_t>(from.at[i]);
  return to;
}
static inline simde__m512 _mm512_cvtph_ps(simde__m256i x) {
  const simde__m256 halves[] = {
      simde_mm256_cvtph_ps(esa_emulation::UpperOrLower<simde__m128i>(x, 0)),
      simde_mm256_cvtph_ps(esa_emulation::UpperOrLower<simde__m128i>(x, 1))};
  simde__m512 whole;
  std::memcpy(&whole, halves, sizeof(whole));
  return whole;
}
static inline simde__m512bh _mm512_cvtne2ps_pbh(simde__m512 upper, simde__m512 lower) {
  const esa_emulation::Floats512 from[] = {esa_emulation::Floats512(lower),
                                           esa_emulation::Floats512(upper)};
  std::uint16_t lanes[32];
  for (int i = 0; i < 32; ++i) lanes[i] = esa_emulation::Bf16(from[i / 16].at[i % 16]);
  simde__m512bh to;
  std::memcpy(&to, lanes, sizeof(to));
  return to;
}

static inline float _mm512_reduce_add_ps(simde__m512 x) {
  return esa_emulation::Reduced(x, [](float a, float b) { return a + b; });
}
static inline float _mm512_reduce_max_ps(simde__m512 x) {
  return esa_emulation::Reduced(x, [](float a, float b) { return a > b ? a : b; });
}
static inline std::int64_t _mm512_reduce_min_epi64(simde__m512i x) {
  const esa_emulation::Of512<std::int64_t> lanes(x);
  return *std::min_element(lanes.at, lanes.at + lanes.kCount);
}

static inline __mmask16 _mm512_cmpeq_epu32_mask(simde__m512i a, simde__m512i b) {
  const esa_emulation::Of512<std::uint32_t> x(a), y(b);
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= (x.at[i] == y.at[i] ? 1u : 0u) << i;
  return static_cast<__mmask16>(mask);
}
static inline __mmask16 _mm512_cmpgt_epu32_mask(simde__m512i a, simde__m512i b) {
  const esa_emulation::Of512<std::uint32_t> x(a), y(b);
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= (x.at[i] > y.at[i] ? 1u : 0u) << i;
  return static_cast<__mmask16>(mask);
}

static inline simde__m512i _mm512_srai_epi32(simde__m512i x, int bits) {
  esa_emulation::Of512<std::int32_t> lanes(x);
  for (std::int32_t& lane : lanes.at) lane >>= bits;
  return lanes;
}
#undef _mm512_madd_epi16  // SIMDe's takes four arguments
static inline simde__m512i _mm512_madd_epi16(simde__m512i a, simde__m512i b) {
  const esa_emulation::Of512<std::int16_t> x(a), y(b);
  esa_emulation::Of512<std::int32_t> sums;
  for (int i = 0; i < 16; ++i) {
    sums.at[i] = x.at[2 * i] * y.at[2 * i] + x.at[2 * i + 1] * y.at[2 * i + 1];
  }
  return sums;
}
static inline simde__m512i _mm512_shufflelo_epi16(simde__m512i x, int order) {
  return esa_emulation::Shuffled<std::int16_t>(x, order, 8, 0);
}
static inline simde__m512i _mm512_shufflehi_epi16(simde__m512i x, int order) {
  return esa_emulation::Shuffled<std::int16_t>(x, order, 8, 4);
}
constexpr int _MM_PERM_BADC = 0x4e;
static inline simde__m512i _mm512_shuffle_epi32(simde__m512i x, int order) {
  return esa_emulation::Shuffled<std::int32_t>(x, order, 4, 0);
}
static inline simde__m512i _mm512_permutex_epi64(simde__m512i x, int order) {
  return esa_emulation::Shuffled<std::int64_t>(x, order, 4, 0);
}
static inline simde__m512i _mm512_shuffle_i64x2(simde__m512i a, simde__m512i b, int order) {
  simde__m128i from[2][4];
  std::memcpy(from[0], &a, sizeof(a));
  std::memcpy(from[1], &b, sizeof(b));
  simde__m128i to[4];
  for (int i = 0; i < 4; ++i) to[i] = from[i / 2][order >> (2 * i) & 3];
  simde__m512i whole;
  std::memcpy(&whole, to, sizeof(whole));
  return whole;
}
