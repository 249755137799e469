// Representations against queries, and what makes scores of the products.
// Include after one of vec_*.h.
//
// Rows are short (a head's dimensions) and come from memory once: kPanel of them are taken at a
// time against as many queries as there are registers for, and against further queries from the
// first-level cache. A score is the same function of its row and its query whatever is computed
// beside it.
#pragma once

#include "ops/kernels/exp.inl.h"
#include "ops/kernels/kernels.h"
#include "ops/kernels/largest.inl.h"
#include "ops/kernels/log.inl.h"

namespace esa {
namespace {

inline constexpr int kPanel = 4;
inline constexpr int kPanelQueries = kLanes == 16 ? 4 : 2;

struct F32Rows {
  using Value = float;
  using Query = float;
  using Sums = Floats;
  static constexpr bool kScaled = false;
  static constexpr int kStep = kLanes;
  static Sums None() { return Zero(); }
  static Floats All(const float* p) { return Load(p); }
  static Floats First(const float* p, std::int64_t count) { return LoadFirst(p, count, Zero()); }
  static Floats AllOf(const float* q) { return Load(q); }
  static Floats FirstOf(const float* q, std::int64_t n) { return LoadFirst(q, n, Zero()); }
  static Sums AddTo(Floats row, Floats query, Sums sums) { return MulAdd(row, query, sums); }
};

struct Bf16Rows : F32Rows {
  using Value = std::uint16_t;
  static Floats All(const std::uint16_t* p) { return LoadBf16(p); }
  static Floats First(const std::uint16_t* p, std::int64_t count) {
    return LoadFirstBf16(p, count);
  }
};

struct Int8Rows {
  using Value = std::int8_t;
  using Query = std::int16_t;
  using Sums = Ints;
  static constexpr bool kScaled = true;
  static constexpr int kStep = kShorts;
  static Sums None() { return ZeroInts(); }
  static Ints All(const std::int8_t* p) { return LoadInt8(p); }
  static Ints First(const std::int8_t* p, std::int64_t count) { return LoadFirstInt8(p, count); }
  static Ints AllOf(const std::int16_t* q) { return LoadInt16(q); }
  static Ints FirstOf(const std::int16_t* q, std::int64_t) { return LoadInt16(q); }
  static Sums AddTo(Ints row, Ints query, Sums sums) { return AddProducts(row, query, sums); }
};

// The products of kPanel rows with a query into their scores.
template <class Rows>
inline void StoreProducts(const float* scales, float query_scale, bool add, Fours products,
                          float* scores) {
  if constexpr (Rows::kScaled) products *= LoadFours(scales) * query_scale;
  if (add) products += LoadFours(scores);
  __builtin_memcpy(scores, &products, sizeof(products));
}

// The same for the rows from `row` on, of which only `count` are there.
template <class Rows>
inline void StorePanel(const DotRowsTask& task, std::int64_t row, std::int64_t count, int r,
                       Fours products) {
  float* scores = task.scores + r * task.stride + row;
  const float* scales = Rows::kScaled ? task.scales + row : nullptr;
  const float query_scale = Rows::kScaled ? task.query_scales[r] : 1.0f;
  if (count == kPanel) {
    return StoreProducts<Rows>(scales, query_scale, task.add, products, scores);
  }
  float some_scales[kPanel] = {};
  float some_scores[kPanel] = {};
  for (int n = 0; n < count; ++n) {
    if (Rows::kScaled) some_scales[n] = scales[n];
    some_scores[n] = scores[n];
  }
  StoreProducts<Rows>(some_scales, query_scale, task.add, products, some_scores);
  for (int n = 0; n < count; ++n) scores[n] = some_scores[n];
}

// A panel against kQueries queries from r on. Rows that are not there repeat the last one.
template <class Rows, int kQueries>
inline void DotPanel(const DotRowsTask& task, std::int64_t row, std::int64_t count, int r) {
  const std::int64_t dim = task.dim;
  const typename Rows::Value* rows[kPanel];
#pragma GCC unroll 8
  for (int n = 0; n < kPanel; ++n) {
    const std::int64_t at = n < count ? row + n : row + count - 1;
    rows[n] = static_cast<const typename Rows::Value*>(task.rows) + at * dim;
  }
  const auto* queries = static_cast<const typename Rows::Query*>(task.queries);
  queries += r * task.query_stride;
  typename Rows::Sums sums[kQueries][kPanel];
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
#pragma GCC unroll 8
    for (int n = 0; n < kPanel; ++n) sums[q][n] = Rows::None();
  }
  std::int64_t k = 0;
  for (; k + Rows::kStep <= dim; k += Rows::kStep) {
    decltype(Rows::AllOf(queries)) values[kPanel];
#pragma GCC unroll 8
    for (int n = 0; n < kPanel; ++n) values[n] = Rows::All(rows[n] + k);
#pragma GCC unroll 8
    for (int q = 0; q < kQueries; ++q) {
      const auto query = Rows::AllOf(queries + q * task.query_stride + k);
#pragma GCC unroll 8
      for (int n = 0; n < kPanel; ++n) sums[q][n] = Rows::AddTo(values[n], query, sums[q][n]);
    }
  }
  if (k < dim) {
    for (int n = 0; n < kPanel; ++n) {
      const auto values = Rows::First(rows[n] + k, dim - k);
      for (int q = 0; q < kQueries; ++q) {
        const auto query = Rows::FirstOf(queries + q * task.query_stride + k, dim - k);
        sums[q][n] = Rows::AddTo(values, query, sums[q][n]);
      }
    }
  }
#pragma GCC unroll 8
  for (int q = 0; q < kQueries; ++q) {
    StorePanel<Rows>(task, row, count, r + q,
                     ReduceAdd4(sums[q][0], sums[q][1], sums[q][2], sums[q][3]));
  }
}

template <class Rows>
inline void DotRestOfQueries(const DotRowsTask& task, std::int64_t row, std::int64_t count, int r) {
  switch (task.num_queries - r) {
    case 3:
      return DotPanel<Rows, 3>(task, row, count, r);
    case 2:
      return DotPanel<Rows, 2>(task, row, count, r);
    case 1:
      return DotPanel<Rows, 1>(task, row, count, r);
  }
}

// The processor's own prefetching does not get far enough ahead: one query on one thread, bf16 of
// 128 dimensions: 27 GB/s without, 33 with 1 KiB ahead, 36 with 4 and 39 with 8.
inline constexpr std::int64_t kAheadBytes = 8 << 10;

template <class Rows>
void DotRows(const DotRowsTask& task) {
  const std::int64_t panel_bytes = kPanel * task.dim * std::int64_t{sizeof(typename Rows::Value)};
  const auto* ahead = static_cast<const char*>(task.rows) + kAheadBytes;
  for (std::int64_t row = 0; row < task.count; row += kPanel) {
    const std::int64_t count = task.count - row < kPanel ? task.count - row : kPanel;
    for (std::int64_t at = 0; at < panel_bytes; at += 64) Prefetch(ahead + at);
    ahead += panel_bytes;
    int r = 0;
    for (; r + kPanelQueries <= task.num_queries; r += kPanelQueries) {
      DotPanel<Rows, kPanelQueries>(task, row, count, r);
    }
    DotRestOfQueries<Rows>(task, row, count, r);
  }
}

// One instruction counts a word's bits: that keeps up with memory for a query or two.
void MatchCodes(const CodeMatchTask& task) {
  const std::int64_t group_words = std::int64_t{task.group} * task.words;
  for (std::int64_t i = 0; i < task.count; ++i) {
    const std::uint64_t* group = task.codes + i * group_words;
    for (int r = 0; r < task.num_queries; ++r) {
      const std::uint64_t* query = task.queries + r * task.words;
      int least = 64 * task.words;
      for (std::int64_t code = 0; code < group_words; code += task.words) {
        int different = 0;
        for (int w = 0; w < task.words; ++w) {
          different += __builtin_popcountll(group[code + w] ^ query[w]);
        }
        least = different < least ? different : least;
      }
      task.matches[r * task.stride + i] = static_cast<float>(64 * task.words - least);
    }
  }
}

void OrderOfRow(const float* x, std::int64_t n, std::uint32_t* order) {
  for (std::int64_t i = 0; i < n; i += kLanes) {
    StoreFirst32(order + i, n - i, OrderOf(LoadFirst(x + i, n - i, Zero())));
  }
}

// The lowest `count` set bits.
inline std::uint32_t LowestBits(std::uint32_t bits, std::int64_t count) {
  std::uint32_t rest = bits;
  for (; count > 0; --count) rest &= rest - 1;
  return bits ^ rest;
}

void TakeLargest(const TakeTask& task) {
  std::int64_t equals = task.equals;
  std::int32_t* out = task.indices;
  std::int64_t i = 0;
  for (; i + kLanes <= task.count; i += kLanes) {
    std::uint32_t equal = EqualBits(task.values + i, task.threshold);
    const std::int64_t found = __builtin_popcount(equal);
    if (found > equals) equal = LowestBits(equal, equals);
    equals = found > equals ? 0 : equals - found;
    const std::uint32_t taken = equal | LargerBits(task.values + i, task.threshold);
    StorePlaces(out, static_cast<std::int32_t>(i), taken);
    out += __builtin_popcount(taken);
  }
  for (; i < task.count; ++i) {
    const bool equal = task.values[i] == task.threshold && equals > 0;
    if (equal) --equals;
    if (equal || task.values[i] > task.threshold) *out++ = static_cast<std::int32_t>(i);
  }
}

void LogSumExp(const float* x, int num_terms, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const std::int64_t count = n - i;
    Floats largest = LoadFirst(x + i, count, Zero());
    for (int j = 1; j < num_terms; ++j) {
      largest = Max(largest, LoadFirst(x + j * n + i, count, Zero()));
    }
    Floats sum = Zero();
    for (int j = 0; j < num_terms; ++j) {
      sum = Add(sum, Exp(Sub(LoadFirst(x + j * n + i, count, Zero()), largest)));
    }
    StoreFirst(y + i, count, Add(largest, Log(sum)));
  }
}

void AddSoftMax(float* scores, std::int64_t n, float scale, float* sums) {
  const Floats factor = Set(scale * kLog2E);
  const Floats shift = Set(-Largest(scores, n) * scale * kLog2E);
  Floats total = Zero();
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const Floats p = Exp2(MulAdd(LoadFirst(scores + i, n - i, Zero()), factor, shift));
    total = Add(total, KeepFirst(p, n - i));
    StoreFirst(scores + i, n - i, p);
  }
  const Floats share = Set(1.0f / ReduceAdd(total));
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const Floats sum = LoadFirst(sums + i, n - i, Zero());
    StoreFirst(sums + i, n - i, MulAdd(LoadFirst(scores + i, n - i, Zero()), share, sum));
  }
}

void AddSquareRoots(const float* x, std::int64_t n, float factor, float* y) {
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const Floats root = Sqrt(Max(LoadFirst(x + i, n - i, Zero()), Zero()));
    StoreFirst(y + i, n - i, MulAdd(Set(factor), root, LoadFirst(y + i, n - i, Zero())));
  }
}

}  // namespace
}  // namespace esa
