// AVX-512 with bit counts of vectors: what kAvx512 does better here.
#include <immintrin.h>

#include "ops/kernels/kernels.h"

namespace esa {
namespace {

inline constexpr std::int64_t kWordLanes = 8;

// The counts of words that make up a code, added up in each lane of the code.
template <int kWords>
inline __m512i AddWords(__m512i counts) {
  if constexpr (kWords >= 2) {
    counts = _mm512_add_epi64(counts, _mm512_shuffle_epi32(counts, _MM_PERM_BADC));
  }
  if constexpr (kWords >= 4) {
    counts = _mm512_add_epi64(counts, _mm512_permutex_epi64(counts, 0x4e));
  }
  if constexpr (kWords >= 8) {
    counts = _mm512_add_epi64(counts, _mm512_shuffle_i64x2(counts, counts, 0x4e));
  }
  return counts;
}

// Codes that do not fill a vector: lanes beyond them differ in every bit.
template <int kWords>
inline __m512i Differences(const std::uint64_t* codes, std::int64_t words, __m512i query) {
  if (words >= kWordLanes) {
    const __m512i different = _mm512_xor_si512(_mm512_loadu_si512(codes), query);
    return AddWords<kWords>(_mm512_popcnt_epi64(different));
  }
  const auto mask = static_cast<__mmask8>((1u << words) - 1);
  const __m512i loaded = _mm512_maskz_loadu_epi64(mask, codes);
  const __m512i different = _mm512_mask_xor_epi64(_mm512_set1_epi64(-1), mask, loaded, query);
  return AddWords<kWords>(_mm512_popcnt_epi64(different));
}

template <int kWords>
__m512i Repeat(const std::uint64_t* query) {
  alignas(64) std::uint64_t words[kWordLanes];
  for (int i = 0; i < kWordLanes; ++i) words[i] = query[i % kWords];
  return _mm512_load_si512(words);
}

template <int kWords>
void Match(const CodeMatchTask& task) {
  const std::int64_t group_words = std::int64_t{task.group} * kWords;
  for (std::int64_t i = 0; i < task.count; ++i) {
    const std::uint64_t* group = task.codes + i * group_words;
    for (int r = 0; r < task.num_queries; ++r) {
      const __m512i query = Repeat<kWords>(task.queries + r * kWords);
      __m512i least = _mm512_set1_epi64(64 * kWords);
      for (std::int64_t at = 0; at < group_words; at += kWordLanes) {
        least = _mm512_min_epi64(least, Differences<kWords>(group + at, group_words - at, query));
      }
      const auto bits = static_cast<std::int64_t>(_mm512_reduce_min_epi64(least));
      task.matches[r * task.stride + i] = static_cast<float>(64 * kWords - bits);
    }
  }
}

}  // namespace

void CodeMatchesAvx512Popcount(const CodeMatchTask& task) {
  switch (task.words) {
    case 1:
      return Match<1>(task);
    case 2:
      return Match<2>(task);
    case 4:
      return Match<4>(task);
    case 8:
      return Match<8>(task);
    default:
      return kAvx512Kernels.code_matches(task);
  }
}

}  // namespace esa
