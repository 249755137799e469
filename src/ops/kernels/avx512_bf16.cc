// AVX-512 with dot products of bf16 and of int8: what kAvx512 does better here.
#include "ops/kernels/kernels.h"
#include "ops/kernels/vec_avx512.h"
// Written against the vectors above.
#include "ops/kernels/attention.inl.h"
#include "ops/kernels/panel_blocks.inl.h"
#include "ops/kernels/panels.inl.h"
#include "ops/kernels/short_tiles.inl.h"

namespace esa {
namespace {

// Queries and probabilities are rounded to bf16; their products are summed in f32. A unit of A is
// the pair's bits in the place of an f32.
struct DotBf16Mode : F32Mode {
  static constexpr int kPack = 2;
  static __m512bh Pairs(Floats x) { return (__m512bh)_mm512_castps_si512(x); }
  static Sum Dot(Floats a, Floats b, Sum sum) { return _mm512_dpbf16_ps(sum, Pairs(b), Pairs(a)); }
  static __m512i Round(Floats x0, Floats x1) { return (__m512i)_mm512_cvtne2ps_pbh(x1, x0); }
  static void Pack(float* row, int at, Floats x0, Floats x1) {
    _mm512_storeu_si512(row + at / 2, Round(x0, x1));
  }
  // Adds what was rounded, so that the weights the output is divided by are those it was made of.
  static Floats PackAndAdd(float* row, int at, Floats x0, Floats x1, Floats sum) {
    const __m512i pairs = Round(x0, x1);
    _mm512_storeu_si512(row + at / 2, pairs);
    constexpr int kOnes = 0x3f803f80;
    return _mm512_dpbf16_ps(sum, (__m512bh)pairs, (__m512bh)_mm512_set1_epi32(kOnes));
  }
};

constexpr int kDotChains = 12;

float DotChains(std::int64_t rounds) {
  Floats sums[kDotChains];
  const __m512bh factor = DotBf16Mode::Pairs(Set(0.5f));
#pragma GCC unroll 16
  for (int i = 0; i < kDotChains; ++i) sums[i] = Set(static_cast<float>(i));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kDotChains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], factor, factor);
  }
  Floats sum = Zero();
#pragma GCC unroll 16
  for (int i = 0; i < kDotChains; ++i) sum = Add(sum, sums[i]);
  return ReduceAdd(sum);
}

}  // namespace

constinit const ArithmeticProbe kProbeAvx512Bf16 = {.run = DotChains,
                                                    .operations = 4 * kDotChains * kLanes};

void ProductInt8Avx512Vnni(const PanelProductTask& task) { MultiplyPanels<Int8Panel>(task); }
void ProductInt4Avx512Vnni(const PanelProductTask& task) { MultiplyPanels<Int4Panel>(task); }
void BlockInt8Avx512Vnni(const PanelProductTask& task) { MultiplyPanelBlock<false>(task); }
void BlockInt4Avx512Vnni(const PanelProductTask& task) { MultiplyPanelBlock<true>(task); }

void AttendInt8Avx512Vnni(const AttendTask& task) { Attend<StoredTiles<Int8Mode>>(task); }
void AttendRowsInt8Avx512Vnni(const AttendTask& task) { Attend<WidenedInt8Tiles>(task); }
void AttendBf16Avx512Bf16(const AttendTask& task) { Attend<StoredTiles<DotBf16Mode>>(task); }

}  // namespace esa
