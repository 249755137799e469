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
  template <int kTerm>
  static Floats A(const float* a) {
    return Set(a[kTerm]);
  }
  template <int kTerm>
  static Floats B(Floats units) {
    return units;
  }
  static Floats Dot(Floats a, Floats b, Floats acc) { return MulAdd(a, b, acc); }
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

// int8 tiles: A stays f32.
struct Int8Mode : F32Mode {
  static constexpr int kPack = 4;
  static constexpr int kUnitFloats = 4;
  static constexpr int kTerms = 4;
  static constexpr bool kScaled = true;
  template <int kTerm>
  static Floats B(Floats units) {
    return FloatsFromByte<kTerm>(units);
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
  bool accumulate = false;        // add to C times factor[row], or overwrite it
  const float* factor = nullptr;  // [rows]; null: ones
  const float* next_b = nullptr;  // a tile of B's size that will be read soon, or null
};

// Adds to acc [kSets][kRows][kVectors], to set kTerm % kSets, term kTerm of a unit's products and
// those that follow.
template <class Mode, int kTerm, int kSets, int kRows, int kVectors>
inline void AddTerms(const Floats (&units)[kVectors], const float* a, int a_stride,
                     Floats (&acc)[kSets][kRows][kVectors]) {
  Floats b[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) b[v] = Mode::template B<kTerm>(units[v]);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const Floats ar = Mode::template A<kTerm>(a + r * a_stride);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      Floats& sum = acc[kTerm % kSets][r][v];
      sum = Mode::Dot(ar, b[v], sum);
    }
  }
  if constexpr (kTerm + 1 < Mode::kTerms) AddTerms<Mode, kTerm + 1>(units, a, a_stride, acc);
}

// kVectors == 1: the vector may be partial, at the end of the columns.
template <class Mode, int kRows, int kVectors, bool kPrefetch>
inline void MultiplyBlock(const TileProduct& p, int row, int column) {
  // Sums that are too few to hide the time of an addition are halved.
  constexpr int kSets = Mode::kTerms > 1 && 2 * kRows * kVectors <= kMaxSums ? 2 : 1;
  const float* a = p.a + static_cast<std::int64_t>(row) * p.a_stride;
  const float* b = p.b + column;
  // Line by line, whatever the order in which the tile will be read.
  const float* next = kPrefetch ? p.next_b + static_cast<std::int64_t>(column) * p.depth : nullptr;
  const bool partial = kVectors == 1 && p.columns - column < kLanes;
  Floats acc[kSets][kRows][kVectors];
#pragma GCC unroll 2
  for (int s = 0; s < kSets; ++s) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[s][r][v] = Zero();
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
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    float* c = p.c + static_cast<std::int64_t>(row + r) * p.c_stride + column;
    const Floats factor = Set(p.factor != nullptr ? p.factor[row + r] : 1.0f);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* at = c + v * kLanes;
      Floats sum = acc[0][r][v];
      if constexpr (kSets == 2) sum = Add(sum, acc[1][r][v]);
      // Added at the end, not accumulated into: the error grows with the number of slices and
      // with the tokens of a slice, not with their product.
      if (partial) {
        const std::int64_t count = p.columns - column;
        const Floats before = p.accumulate ? LoadFirst(at, count, Zero()) : Zero();
        StoreFirst(at, count, MulAdd(before, factor, sum));
      } else {
        Store(at, p.accumulate ? MulAdd(Load(at), factor, sum) : sum);
      }
    }
  }
}

template <class Mode, int kRows, int kVectors, bool kPrefetch>
inline void MultiplyAtMost(const TileProduct& p, int row, int rows, int column) {
  if constexpr (kRows > 1) {
    if (rows < kRows) {
      return MultiplyAtMost<Mode, kRows - 1, kVectors, kPrefetch>(p, row, rows, column);
    }
  }
  MultiplyBlock<Mode, kRows, kVectors, kPrefetch>(p, row, column);
}

template <class Mode, int kRows, int kVectors>
inline void MultiplyPanel(const TileProduct& p, int column) {
  int row = 0;
  if (p.next_b != nullptr) {
    MultiplyAtMost<Mode, kRows, kVectors, true>(p, 0, p.rows, column);
    row = kRows;
  }
  for (; row < p.rows; row += kRows) {
    MultiplyAtMost<Mode, kRows, kVectors, false>(p, row, p.rows - row, column);
  }
}

template <class Mode, int kRows, int kVectors>
void MultiplyPanels(const TileProduct& p) {
  int column = 0;
  for (; column + kVectors * kLanes <= p.columns; column += kVectors * kLanes) {
    MultiplyPanel<Mode, kRows, kVectors>(p, column);
  }
  for (; column < p.columns; column += kLanes) MultiplyPanel<Mode, kRows, 1>(p, column);
}

template <class Mode>
void Multiply(const TileProduct& p) {
  // Four vectors of B for each that is loaded leave room for one, and rows enough to hide the time
  // of four additions in a row.
  if constexpr (Mode::kScaled) return MultiplyPanels<Mode, 8, 1>(p);
  if (p.rows > kWideRows && p.rows <= kTallRows) {
    MultiplyPanels<Mode, kTallRows, kTallVectors>(p);
  } else {
    MultiplyPanels<Mode, kWideRows, kWideVectors>(p);
  }
}

// Scores [padded] of one row, of which the first `visible` count, to probabilities in A's format,
// in place, zero beyond `visible`. Updates the row's maximum and sum; returns by how much what was
// accumulated so far must be multiplied.
// With k_scales and v_scales [visible] of a mode that is kScaled.
template <class Mode>
float SoftmaxRow(float* row, int visible, int padded, float scale, const float* k_scales,
                 const float* v_scales, float* max, float* sum) {
  constexpr int kStep = 2 * kLanes;
  if constexpr (Mode::kScaled) {
    for (int at = 0; at < visible; at += kLanes) {
      const Floats scales = LoadFirst(k_scales + at, visible - at, Zero());
      Store(row + at, Mul(Load(row + at), scales));
    }
  }
  const Floats lowest = Set(-__builtin_inff());
  Floats top = lowest;
  int t = 0;
  for (; t + kLanes <= visible; t += kLanes) top = Max(top, Load(row + t));
  if (t < visible) top = Max(top, LoadFirst(row + t, visible - t, lowest));
  const float row_max = ReduceMax(top) * scale;
  const float new_max = visible > 0 && row_max > *max ? row_max : *max;

  const Floats factor = Set(scale);
  const Floats shift = Set(-new_max);
  Floats total = Zero();
  t = 0;
  for (; t + kStep <= visible; t += kStep) {
    const Floats p0 = Exp(MulAdd(Load(row + t), factor, shift));
    const Floats p1 = Exp(MulAdd(Load(row + t + kLanes), factor, shift));
    if constexpr (Mode::kScaled) {
      total = Add(total, Add(p0, p1));
      Mode::Pack(row, t, Mul(p0, Load(v_scales + t)), Mul(p1, Load(v_scales + t + kLanes)));
    } else {
      total = Mode::PackAndAdd(row, t, p0, p1, total);
    }
  }
  for (; t < padded; t += kStep) {
    const Floats p0 = Exp(MulAdd(Load(row + t), factor, shift));
    const Floats p1 = Exp(MulAdd(Load(row + t + kLanes), factor, shift));
    const Floats kept0 = KeepFirst(p0, visible - t);
    const Floats kept1 = KeepFirst(p1, visible - t - kLanes);
    if constexpr (Mode::kScaled) {
      total = Add(total, Add(kept0, kept1));
      Mode::Pack(row, t, Mul(kept0, LoadFirst(v_scales + t, visible - t, Zero())),
                 Mul(kept1, LoadFirst(v_scales + t + kLanes, visible - t - kLanes, Zero())));
    } else {
      total = Mode::PackAndAdd(row, t, kept0, kept1, total);
    }
  }
  // A first maximum meets sum and accumulator of zero, for which any finite factor will do.
  const bool is_first = *max == -__builtin_inff();
  const Floats change = Exp(Set(is_first ? 0.0f : *max - new_max));
  alignas(64) float lanes[kLanes];
  Store(lanes, change);
  *sum = *sum * lanes[0] + ReduceAdd(total);
  *max = new_max;
  return lanes[0];
}

inline int PadRow(int count) { return (count + kRowPadding - 1) / kRowPadding * kRowPadding; }

struct AttendBuffers {
  float* q;       // [rows, q_stride], A's format
  float* scores;  // [rows, score_stride]; then the probabilities, A's format
  float* factor;  // [rows]
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
  buffers.v_row = buffers.factor + rows;
  return buffers;
}

template <class Mode>
void PackQueries(const AttendTask& task, const AttendBuffers& buffers) {
  for (int r = 0; r < task.num_tokens * task.group; ++r) {
    const float* q = task.q + r / task.group * task.row_stride + r % task.group * task.head_dim;
    float* out = buffers.q + static_cast<std::int64_t>(r) * buffers.q_stride;
    for (int i = 0; i < task.head_dim; i += 2 * kLanes) {
      const int rest = task.head_dim - i;
      Mode::Pack(out, i, LoadFirst(q + i, rest, Zero()),
                 LoadFirst(q + i + kLanes, rest - kLanes, Zero()));
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
      .accumulate = true,
      .factor = buffers.factor,
      .next_b = next};
  Multiply<Mode>(product);
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
  product.factor = nullptr;
  product.next_b = nullptr;
  Multiply<Mode>(product);
}

// Tokens of a slice at or before `position`.
inline int VisibleTokens(const SliceView& slice, std::int64_t position) {
  const std::int64_t visible = position - slice.first_position + 1;
  if (visible <= 0) return 0;
  return visible < slice.num_tokens ? static_cast<int>(visible) : slice.num_tokens;
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
    const float* k_scales = v + tile;  // of a mode that is kScaled
    const float* v_scales = k_scales + task.block_tokens;
    const bool is_last = s + 1 == task.num_slices;
    Multiply<Mode>({.a = buffers.q,
                    .a_stride = buffers.q_stride,
                    .b = k,
                    .b_stride = task.block_tokens,
                    .depth = task.head_dim / Mode::kPack,
                    .c = buffers.scores,
                    .c_stride = buffers.score_stride,
                    .rows = rows,
                    .columns = tokens,
                    .next_b = v});
    for (int r = 0; r < rows; ++r) {
      buffers.factor[r] = SoftmaxRow<Mode>(
          buffers.scores + static_cast<std::int64_t>(r) * buffers.score_stride,
          VisibleTokens(slice, task.first_position + r / task.group), PadRow(tokens), task.scale,
          k_scales, v_scales, &task.max[r], &task.sum[r]);
    }
    AddValues<Mode>(task, buffers, v, tokens,
                    is_last ? nullptr : reinterpret_cast<const float*>(task.slices[s + 1].data));
  }
}

}  // namespace
}  // namespace esa
