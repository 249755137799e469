// Attention of query rows over slices, for any vector width and KV type.
// Include after one of vec_*.h.
//
// A `unit` is 32 bits of a tile: one f32, a pair of bf16 or four int8. With it both inner products
// are the same product C [rows, columns] = A [rows, depth] B [depth, columns] with B a tile as it
// lies in the slice: for scores B is K [head_dim / pack][tokens], for the output V [tokens /
// pack][head_dim]. Broadcasting a unit of A against vectors of B needs no transposition and no
// reduction.
//
// The columns of a product do not mix, so stale tokens of K only make scores that are never read;
// stale tokens of V are kept out by the depth of the product.
#pragma once

#include "ops/kernels/exp.inl.h"
#include "ops/kernels/kernels.h"
#include "ops/kernels/largest.inl.h"

namespace esa {
namespace {

// A mode: kPack values a unit, kUnitFloats floats in a unit of A, B's vectors and A's broadcasts;
// a unit's product is the sum of kTerms multiplications. kScaled: tokens have scales, that scores
// are multiplied by, and probabilities before they meet the values.

struct F32Mode {
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

// int8 tiles: A is integers of 16 bits in units of its row's, products are summed as integers. A
// unit of A is the values that meet the even bytes of B's unit, then those that meet the odd ones.
struct Int8Mode {
  static constexpr int kPack = 4;
  static constexpr int kUnitFloats = 2;
  static constexpr int kTerms = 2;
  static constexpr bool kScaled = true;
  using Sum = Ints;
  static Sum ZeroSum() { return ZeroInts(); }
  static Sum AddSums(Sum a, Sum b) { return AddInts(a, b); }
  static Floats ToFloats(Sum sum) { return FloatsFromInts(sum); }
  template <int kTerm>
  static Ints A(const float* a) {
    return BitsOf(Set(a[kTerm]));
  }
  template <int kTerm>
  static Ints B(Floats units) {
    return kTerm == 0 ? EvenBytes(units) : OddBytes(units);
  }
  static Sum Dot(Ints a, Ints b, Sum sum) { return AddProducts(a, b, sum); }
  // x0, x1: whole numbers of at most Largest().
  static void Pack(float* row, int at, Floats x0, Floats x1) {
    StoreEvenOddInt16(row + at / 2, x0, x1);
  }
  // The largest magnitude of A for which the sum of `depth` values' products cannot overflow.
  static float Largest(int depth) {
    constexpr int kLargestInt = 0x7fffffff;
    const int largest = kLargestInt / 128 / depth;
    return static_cast<float>(largest < 0x7fff ? largest : 0x7fff);
  }
};

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
  const float* next_b = nullptr;  // a tile of B's size that will be read soon, or null
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
  // Line by line, whatever the order in which the tile will be read.
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
      for (int at = 0; at < kVectors * kLanes; at += kLineFloats) Prefetch(next + at);
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
  if (p.next_b != nullptr) {
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
  if (p.rows > kWideRows && p.rows <= kTallRows) {
    MultiplyPanels<Mode, kAccumulate, kTallRows, kTallVectors>(p);
  } else {
    MultiplyPanels<Mode, kAccumulate, kWideRows, kWideVectors>(p);
  }
}

// Of a mode that is kScaled: what probabilities are multiplied by on their way to A's format.
struct ValueScales {
  const float* of_tokens = nullptr;
  float largest = 1;    // of them
  float largest_a = 1;  // magnitude of a value in A's format
};

// Scores [padded] of one row, of which the first `visible` count, to probabilities
// exp(scale * score - base) in A's format, in place, zero beyond `visible`. Returns their sum.
template <class Mode>
float Probabilities(float* row, int visible, int padded, float scale, float base,
                    const ValueScales& scales) {
  constexpr int kStep = 2 * kLanes;
  const Floats factor = Set(scale * kLog2E);
  const Floats shift = Set(-base * kLog2E);
  const Floats to_units = Set(scales.largest_a / scales.largest);
  Floats total = Zero();
  int t = 0;
  for (; t + kStep <= visible; t += kStep) {
    const Floats p0 = Exp2(MulAdd(Load(row + t), factor, shift));
    const Floats p1 = Exp2(MulAdd(Load(row + t + kLanes), factor, shift));
    if constexpr (Mode::kScaled) {
      total = Add(total, Add(p0, p1));
      const float* v = scales.of_tokens + t;
      Mode::Pack(row, t, Mul(p0, Mul(Load(v), to_units)), Mul(p1, Mul(Load(v + kLanes), to_units)));
    } else {
      total = Mode::PackAndAdd(row, t, p0, p1, total);
    }
  }
  for (; t < padded; t += kStep) {
    const Floats p0 = Exp2(MulAdd(Load(row + t), factor, shift));
    const Floats p1 = Exp2(MulAdd(Load(row + t + kLanes), factor, shift));
    const Floats kept0 = KeepFirst(p0, visible - t);
    const Floats kept1 = KeepFirst(p1, visible - t - kLanes);
    if constexpr (Mode::kScaled) {
      total = Add(total, Add(kept0, kept1));
      const float* v = scales.of_tokens + t;
      const Floats v0 = LoadFirst(v, visible - t, Zero());
      const Floats v1 = LoadFirst(v + kLanes, visible - t - kLanes, Zero());
      Mode::Pack(row, t, Mul(kept0, Mul(v0, to_units)), Mul(kept1, Mul(v1, to_units)));
    } else {
      total = Mode::PackAndAdd(row, t, kept0, kept1, total);
    }
  }
  return ReduceAdd(total);
}

inline int PadRow(int count) { return (count + kRowPadding - 1) / kRowPadding * kRowPadding; }

struct AttendBuffers {
  float* q;       // [rows, q_stride], A's format
  float* scores;  // [rows, score_stride]; then the probabilities, A's format
  float* factor;  // [rows]; what was accumulated so far is multiplied by it
  float* base;    // [rows]; the score whose probability is one
  float* weight;  // [rows]; of the slice's probabilities
  float* q_unit;  // [rows]; of A, of a mode that is kScaled
  float* p_unit;  // likewise
  float* v_row;   // units [head_dim]
  int q_stride;   // in floats
  int score_stride;
};

inline AttendBuffers Divide(const AttendTask& task, int rows) {
  AttendBuffers buffers;
  buffers.q_stride = PadRow(task.head_dim);
  buffers.score_stride = PadRow(task.block_tokens);
  buffers.q = task.scratch;
  buffers.scores = buffers.q + static_cast<std::int64_t>(rows) * buffers.q_stride;
  buffers.factor = buffers.scores + static_cast<std::int64_t>(rows) * buffers.score_stride;
  buffers.base = buffers.factor + rows;
  buffers.weight = buffers.base + rows;
  buffers.q_unit = buffers.weight + rows;
  buffers.p_unit = buffers.q_unit + rows;
  buffers.v_row = buffers.p_unit + rows;
  return buffers;
}

template <class Mode>
void PackQueries(const AttendTask& task, const AttendBuffers& buffers) {
  for (int r = 0; r < task.num_tokens * task.group; ++r) {
    const float* q = task.q + r / task.group * task.row_stride + r % task.group * task.head_dim;
    float* out = buffers.q + static_cast<std::int64_t>(r) * buffers.q_stride;
    Floats to_units = Set(1.0f);
    if constexpr (Mode::kScaled) {
      const float largest = LargestMagnitude(q, task.head_dim);
      const float limit = Mode::Largest(task.head_dim);
      buffers.q_unit[r] = largest / limit;
      to_units = Set(largest > 0 ? limit / largest : 0.0f);
    }
    for (int i = 0; i < task.head_dim; i += 2 * kLanes) {
      const int rest = task.head_dim - i;
      Mode::Pack(out, i, Mul(LoadFirst(q + i, rest, Zero()), to_units),
                 Mul(LoadFirst(q + i + kLanes, rest - kLanes, Zero()), to_units));
    }
  }
}

// acc = acc * factor + probabilities V over the first `tokens` tokens.
template <class Mode>
void AddValues(const AttendTask& task, const AttendBuffers& buffers, const float* v, int tokens,
               const float* next) {
  TileProduct product = {
      .a = buffers.scores,
      .a_stride = buffers.score_stride,
      .b = v,
      .b_stride = task.head_dim,
      .depth = Mode::kScaled ? (tokens + Mode::kPack - 1) / Mode::kPack : tokens / Mode::kPack,
      .c = task.acc,
      .c_stride = task.head_dim,
      .rows = task.num_tokens * task.group,
      .columns = task.head_dim,
      .factor = buffers.factor,
      .unit = buffers.p_unit,
      .next_b = next};
  Multiply<Mode, true>(product);
  // Integers that were never written are finite, and meet probabilities of zero.
  if (Mode::kScaled || tokens % Mode::kPack == 0) return;
  // The last unit is half a token that was never written; even times zero it could be a NaN.
  const auto* units = reinterpret_cast<const std::uint16_t*>(
      v + static_cast<std::int64_t>(product.depth) * task.head_dim);
  auto* clean = reinterpret_cast<std::uint16_t*>(buffers.v_row);
  for (int i = 0; i < task.head_dim; ++i) {
    clean[2 * i] = units[2 * i];
    clean[2 * i + 1] = 0;
  }
  product.a += product.depth * Mode::kUnitFloats;
  product.b = buffers.v_row;
  product.depth = 1;
  for (int r = 0; r < product.rows; ++r) buffers.factor[r] = 1;
  product.next_b = nullptr;
  Multiply<Mode, true>(product);
}

// Tokens of a slice at or before `position`.
inline int VisibleTokens(const SliceView& slice, std::int64_t position) {
  const std::int64_t visible = position - slice.first_position + 1;
  if (visible <= 0) return 0;
  return visible < slice.num_tokens ? static_cast<int>(visible) : slice.num_tokens;
}

// The scores of a slice to probabilities, each row beside the others: a row is short next to the
// time that its sums and exponentials take one after the other.
template <class Mode>
void Softmax(const AttendTask& task, const AttendBuffers& buffers, const SliceView& slice,
             int tokens, const ValueScales& scales) {
  const int rows = task.num_tokens * task.group;
  const auto row = [&](int r) {
    return buffers.scores + static_cast<std::int64_t>(r) * buffers.score_stride;
  };
  const auto visible = [&](int r) {
    return VisibleTokens(slice, task.first_position + r / task.group);
  };
  for (int r = 0; r < rows; ++r) buffers.base[r] = Largest(row(r), visible(r)) * task.scale;
  for (int r = 0; r < rows; r += kLanes) {
    const int count = rows - r;
    // Finite, also where nothing was visible yet: sum and accumulator are zero there.
    const Floats lowest = Set(-3e38f);
    const Floats before = LoadFirst(task.max + r, count, Zero());
    const Floats here = LoadFirst(buffers.base + r, count, Zero());
    const Floats max = Max(here, before);
    const Floats top = Max(max, lowest);
    // Integers are in units of the slice's own largest, so that one far below the others' keeps its
    // digits.
    const Floats base = Mode::kScaled ? Max(here, lowest) : top;
    const Floats weight = Exp(Sub(base, top));
    StoreFirst(task.max + r, count, max);
    StoreFirst(buffers.factor + r, count, Exp(Sub(before, top)));
    StoreFirst(buffers.base + r, count, base);
    StoreFirst(buffers.weight + r, count, weight);
    StoreFirst(buffers.p_unit + r, count, Mul(weight, Set(scales.largest / scales.largest_a)));
  }
  const int padded = PadRow(tokens);
  for (int r = 0; r < rows; ++r) {
    const float total =
        Probabilities<Mode>(row(r), visible(r), padded, task.scale, buffers.base[r], scales);
    task.sum[r] = task.sum[r] * buffers.factor[r] + total * buffers.weight[r];
  }
}

template <class Mode>
void Attend(const AttendTask& task) {
  const int rows = task.num_tokens * task.group;
  const AttendBuffers buffers = Divide(task, rows);
  PackQueries<Mode>(task, buffers);
  for (int r = 0; r < rows; ++r) {
    task.max[r] = -__builtin_inff();
    task.sum[r] = 0;
  }
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(rows) * task.head_dim; ++i) {
    task.acc[i] = 0;
  }
  const std::int64_t tile =
      static_cast<std::int64_t>(task.head_dim) * task.block_tokens / Mode::kPack;
  for (std::int64_t s = 0; s < task.num_slices; ++s) {
    const SliceView& slice = task.slices[s];
    const int tokens = VisibleTokens(slice, task.first_position + task.num_tokens - 1);
    if (tokens == 0) continue;
    const auto* k = reinterpret_cast<const float*>(slice.data);
    const float* v = k + tile;
    ValueScales v_scales;
    const float* k_scales = nullptr;
    if constexpr (Mode::kScaled) {
      k_scales = v + tile;
      v_scales.of_tokens = k_scales + task.block_tokens;
      v_scales.largest = LargestMagnitude(v_scales.of_tokens, tokens);
      if (v_scales.largest == 0) v_scales.largest = 1;
      v_scales.largest_a = Mode::Largest(tokens);
    }
    const std::byte* next = s + 1 < task.num_slices ? task.slices[s + 1].data : task.next;
    Multiply<Mode, false>({.a = buffers.q,
                           .a_stride = buffers.q_stride,
                           .b = k,
                           .b_stride = task.block_tokens,
                           .depth = task.head_dim / Mode::kPack,
                           .c = buffers.scores,
                           .c_stride = buffers.score_stride,
                           .rows = rows,
                           .columns = tokens,
                           .unit = buffers.q_unit,
                           .scales = k_scales,
                           .next_b = v});
    Softmax<Mode>(task, buffers, slice, tokens, v_scales);
    AddValues<Mode>(task, buffers, v, tokens, reinterpret_cast<const float*>(next));
  }
}

}  // namespace
}  // namespace esa
