// Products of query rows or probabilities with a tile of K or V, for any vector width and KV type.
// Include after one of vec_*.h.
//
// A `unit` is 32 bits of a tile: one f32, a pair of bf16 or of 16-bit integers, or four int8. With
// it both inner products are the same product C [rows, columns] = A [rows, depth] B [depth,
// columns]: for scores B is K [head_dim / pack][tokens], for the output V [tokens /
// pack][head_dim]. A tile lies so in its slice. Broadcasting a unit of A against vectors of B needs
// no transposition and no reduction.
#pragma once

#include "ops/kernels/kernels.h"

namespace esa {
namespace {

// How many rows and vectors of a product are kept in registers: wide, and tall where the rows are
// few.
struct FloatShapes {
  static constexpr int kWide[] = {kWideRows, kWideVectors};
  static constexpr int kTall[] = {kTallRows, kTallVectors};
};
struct IntShapes {
  static constexpr int kWide[] = {kWideIntRows, kWideIntVectors};
  static constexpr int kTall[] = {kTallIntRows, kTallIntVectors};
};

// A mode: kPack values a unit, kUnitFloats floats in a unit of A, B's vectors and A's broadcasts;
// a unit's product is the sum of kTerms multiplications. kScaled: tokens have scales, that scores
// are multiplied by, and probabilities before they meet the values.

struct F32Mode {
  using Shapes = FloatShapes;
  static constexpr int kPack = 1;
  static constexpr int kUnitFloats = 1;
  static constexpr int kTerms = 1;
  static constexpr bool kScaled = false;
  using Sum = Floats;
  static Sum ZeroSum() { return Zero(); }
  static Sum AddSums(Sum a, Sum b) { return Add(a, b); }
  static Floats ToFloats(Sum sum) { return sum; }
  template <int kTerm>
  static Floats A(const float* a) {
    return Set(a[kTerm]);
  }
  template <int kTerm>
  static Floats B(Floats units) {
    return units;
  }
  static Sum Dot(Floats a, Floats b, Sum sum) { return MulAdd(a, b, sum); }
  // Two vectors of values into A's format at `row` + at; returns what to add to their sum.
  static void Pack(float* row, int at, Floats x0, Floats x1) {
    Store(row + at, x0);
    Store(row + at + kLanes, x1);
  }
  static Floats PackAndAdd(float* row, int at, Floats x0, Floats x1, Floats sum) {
    Pack(row, at, x0, x1);
    return Add(sum, Add(x0, x1));
  }
};

// bf16 tiles without a dot product instruction: pairs are widened, A stays f32.
struct WidenedBf16Mode : F32Mode {
  static constexpr int kPack = 2;
  static constexpr int kUnitFloats = 2;
  static constexpr int kTerms = 2;
  template <int kTerm>
  static Floats B(Floats units) {
    return kTerm == 0 ? LowerBf16(units) : UpperBf16(units);
  }
};

// A and B are integers of 16 bits, A in units of its row's; products are summed as integers.
struct IntMode {
  using Shapes = IntShapes;
  static constexpr bool kScaled = true;
  using Sum = Ints;
  static Sum ZeroSum() { return ZeroInts(); }
  static Sum AddSums(Sum a, Sum b) { return AddInts(a, b); }
  static Floats ToFloats(Sum sum) { return FloatsFromInts(sum); }
  template <int kTerm>
  static Ints A(const float* a) {
    return BitsOf(Set(a[kTerm]));
  }
  static Sum Dot(Ints a, Ints b, Sum sum) { return AddProducts(a, b, sum); }
};

// int8 tiles. A unit of A is the values that meet the even bytes of B's unit, then those that meet
// the odd ones.
struct Int8Mode : IntMode {
  static constexpr int kPack = 4;
  static constexpr int kUnitFloats = 2;
  static constexpr int kTerms = 2;
  template <int kTerm>
  static Ints B(Floats units) {
    return kTerm == 0 ? EvenBytes(units) : OddBytes(units);
  }
  // x0, x1: whole numbers that fit.
  static void Pack(float* row, int at, Floats x0, Floats x1) {
    StoreEvenOddInt16(row + at / 2, x0, x1);
  }
};

// The largest magnitude of integers of 16 bits for which the sum of `depth` products with others of
// at most `others` cannot overflow.
inline float LargestShort(int depth, int others) {
  constexpr int kLargestInt = 0x7fffffff;
  const int largest = kLargestInt / (others + 1) / depth;
  return static_cast<float>(largest < 0x7fff ? largest : 0x7fff);
}

inline constexpr int kLineFloats = 16;  // of a cache line

struct TileProduct {
  const float* a = nullptr;  // [rows, a_stride]
  int a_stride = 0;          // in floats
  const float* b = nullptr;  // units, [depth, b_stride]
  int b_stride = 0;
  int depth = 0;
  float* c = nullptr;  // [rows, c_stride]
  int c_stride = 0;
  int rows = 0;
  int columns = 0;
  const float* factor = nullptr;  // [rows]; kAccumulate: added to C times factor[row]
  const float* unit = nullptr;    // [rows], of A; of a mode that is kScaled
  const float* scales = nullptr;  // [columns], of B; likewise, unless kAccumulate
  const float* next_b = nullptr;  // [next_size], will be read soon; or null
  std::int64_t next_size = 0;     // at most depth * columns
};

// Adds to acc [kSets][kRows][kVectors], to set kTerm % kSets, term kTerm of a unit's products and
// those that follow.
template <class Mode, int kTerm, int kSets, int kRows, int kVectors>
inline void AddTerms(const Floats (&units)[kVectors], const float* a, int a_stride,
                     typename Mode::Sum (&acc)[kSets][kRows][kVectors]) {
  decltype(Mode::template B<kTerm>(units[0])) b[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) b[v] = Mode::template B<kTerm>(units[v]);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const auto ar = Mode::template A<kTerm>(a + r * a_stride);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      typename Mode::Sum& sum = acc[kTerm % kSets][r][v];
      sum = Mode::Dot(ar, b[v], sum);
    }
  }
  if constexpr (kTerm + 1 < Mode::kTerms) AddTerms<Mode, kTerm + 1>(units, a, a_stride, acc);
}

// kVectors == 1: the vector may be partial, at the end of the columns.
template <class Mode, bool kAccumulate, int kRows, int kVectors, bool kPrefetch>
inline void MultiplyBlock(const TileProduct& p, int row, int column) {
  // Sums that are too few to hide the time of an addition are halved.
  constexpr int kSets =
      Mode::kTerms > 1 && !Mode::kScaled && 2 * kRows * kVectors <= kMaxSums ? 2 : 1;
  const float* a = p.a + static_cast<std::int64_t>(row) * p.a_stride;
  const float* b = p.b + column;
  // Line by line, whatever the order in which the tile will be read; a cache of level 1 would
  // wait for so many lines in turn (7 heads of 64 on one thread: 13 GB/s, 22 so).
  const float* next = kPrefetch ? p.next_b + static_cast<std::int64_t>(column) * p.depth : nullptr;
  const bool partial = kVectors == 1 && p.columns - column < kLanes;
  typename Mode::Sum acc[kSets][kRows][kVectors];
#pragma GCC unroll 2
  for (int s = 0; s < kSets; ++s) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[s][r][v] = Mode::ZeroSum();
    }
  }
  for (int k = 0; k < p.depth; ++k) {
    Floats units[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const float* at = b + v * kLanes;
      units[v] = partial ? LoadFirst(at, p.columns - column, Zero()) : Load(at);
    }
    if constexpr (kPrefetch) {
#pragma GCC unroll 8
      for (int at = 0; at < kVectors * kLanes; at += kLineFloats) PrefetchToL2(next + at);
      next += kVectors * kLanes;
    }
    AddTerms<Mode, 0>(units, a, p.a_stride, acc);
    a += Mode::kUnitFloats;
    b += p.b_stride;
  }
  float* c = p.c + static_cast<std::int64_t>(row) * p.c_stride + column;
  const std::int64_t c_stride = p.c_stride;
  Floats scales[kVectors];
  if constexpr (Mode::kScaled && !kAccumulate) {
    for (int v = 0; v < kVectors; ++v) {
      const float* at = p.scales + column + v * kLanes;
      scales[v] = partial ? LoadFirst(at, p.columns - column, Zero()) : Load(at);
    }
  }
  const float* units = Mode::kScaled ? p.unit + row : nullptr;
  const float* factors = kAccumulate ? p.factor + row : nullptr;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* at = c + r * c_stride + v * kLanes;
      typename Mode::Sum total = acc[0][r][v];
      if constexpr (kSets == 2) total = Mode::AddSums(total, acc[1][r][v]);
      Floats sum = Mode::ToFloats(total);
      if constexpr (Mode::kScaled) {
        sum = Mul(sum, Set(units[r]));
        if constexpr (!kAccumulate) sum = Mul(sum, scales[v]);
      }
      // Added at the end, not accumulated into: the error grows with the number of slices and
      // with the tokens of a slice, not with their product.
      const std::int64_t count = p.columns - column;
      if constexpr (kAccumulate) {
        const Floats before = partial ? LoadFirst(at, count, Zero()) : Load(at);
        sum = MulAdd(before, Set(factors[r]), sum);
      }
      if (partial) {
        StoreFirst(at, count, sum);
      } else {
        Store(at, sum);
      }
    }
  }
}

template <class Mode, bool kAccumulate, int kRows, int kVectors, bool kPrefetch>
inline void MultiplyAtMost(const TileProduct& p, int row, int rows, int column) {
  if constexpr (kRows > 1) {
    if (rows < kRows) {
      return MultiplyAtMost<Mode, kAccumulate, kRows - 1, kVectors, kPrefetch>(p, row, rows,
                                                                               column);
    }
  }
  MultiplyBlock<Mode, kAccumulate, kRows, kVectors, kPrefetch>(p, row, column);
}

template <class Mode, bool kAccumulate, int kRows, int kVectors>
inline void MultiplyPanel(const TileProduct& p, int column) {
  int row = 0;
  if (p.next_b != nullptr && static_cast<std::int64_t>(column) * p.depth < p.next_size) {
    MultiplyAtMost<Mode, kAccumulate, kRows, kVectors, true>(p, 0, p.rows, column);
    row = kRows;
  }
  for (; row < p.rows; row += kRows) {
    MultiplyAtMost<Mode, kAccumulate, kRows, kVectors, false>(p, row, p.rows - row, column);
  }
}

template <class Mode, bool kAccumulate, int kRows, int kVectors>
void MultiplyPanels(const TileProduct& p) {
  int column = 0;
  for (; column + kVectors * kLanes <= p.columns; column += kVectors * kLanes) {
    MultiplyPanel<Mode, kAccumulate, kRows, kVectors>(p, column);
  }
  for (; column < p.columns; column += kLanes)
    MultiplyPanel<Mode, kAccumulate, kRows, 1>(p, column);
}

template <class Mode, bool kAccumulate>
void Multiply(const TileProduct& p) {
  constexpr auto& wide = Mode::Shapes::kWide;
  constexpr auto& tall = Mode::Shapes::kTall;
  if (p.rows > wide[0] && p.rows <= tall[0]) {
    MultiplyPanels<Mode, kAccumulate, tall[0], tall[1]>(p);
  } else {
    MultiplyPanels<Mode, kAccumulate, wide[0], wide[1]>(p);
  }
}

}  // namespace
}  // namespace esa
