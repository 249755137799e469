// Attention of query rows over slices, for any vector width and KV type.
// Include after one of vec_*.h.
//
// The columns of a product do not mix, so stale tokens of K only make scores that are never read;
// stale tokens of V are kept out by the depth of the product.
#pragma once

#include "ops/kernels/exp.inl.h"
#include "ops/kernels/kernels.h"
#include "ops/kernels/largest.inl.h"
#include "ops/kernels/tile_product.inl.h"

namespace esa {
namespace {

// Of a mode that is kScaled: probabilities times `factors` are whole numbers of `unit`.
struct ValueScales {
  const float* factors = nullptr;  // [padded], of the tokens; zero beyond them
  float unit = 1;
};

// What Exp2 turns into a probability. Of a mode that is kScaled `base` is a score and the largest
// of them, whose probability must not be above one: sums of integers have no room for it.
template <class Mode>
inline Floats Exponent(Floats score, Floats factor, Floats base, Floats shift) {
  return Mode::kScaled ? Mul(Sub(score, base), factor) : MulAdd(score, factor, shift);
}

// Two vectors of probabilities into A's format; returns their sum and `total`.
template <class Mode>
inline Floats PackAndAdd(float* row, int at, Floats p0, Floats p1, const float* factors,
                         Floats total) {
  if constexpr (Mode::kScaled) {
    Mode::Pack(row, at, Mul(p0, Load(factors + at)), Mul(p1, Load(factors + at + kLanes)));
    return Add(total, Add(p0, p1));
  } else {
    return Mode::PackAndAdd(row, at, p0, p1, total);
  }
}

// Scores [padded] of one row, of which the first `visible` count, to probabilities
// exp(scale * score - base), of a mode that is kScaled exp(scale * (score - base)), in A's format,
// in place, zero beyond `visible`. Returns their sum.
template <class Mode>
float Probabilities(float* row, int visible, int padded, float scale, float base,
                    const ValueScales& scales) {
  constexpr int kStep = 2 * kLanes;
  const Floats factor = Set(scale * kLog2E);
  const Floats top = Set(base);
  const Floats shift = Set(-base * kLog2E);
  Floats total = Zero();
  int t = 0;
  for (; t + kStep <= visible; t += kStep) {
    const Floats p0 = Exp2(Exponent<Mode>(Load(row + t), factor, top, shift));
    const Floats p1 = Exp2(Exponent<Mode>(Load(row + t + kLanes), factor, top, shift));
    total = PackAndAdd<Mode>(row, t, p0, p1, scales.factors, total);
  }
  for (; t < padded; t += kStep) {
    const Floats p0 = Exp2(Exponent<Mode>(Load(row + t), factor, top, shift));
    const Floats p1 = Exp2(Exponent<Mode>(Load(row + t + kLanes), factor, top, shift));
    total = PackAndAdd<Mode>(row, t, KeepFirst(p0, visible - t),
                             KeepFirst(p1, visible - t - kLanes), scales.factors, total);
  }
  return ReduceAdd(total);
}

inline int PadRow(int count) { return (count + kRowPadding - 1) / kRowPadding * kRowPadding; }

struct AttendBuffers {
  float* tile;         // [AttendTileScratch()], a tile in the form that its product reads; or null
  float* tile_scales;  // [block_tokens], of it; likewise
  float* q;            // [rows, q_stride], A's format
  float* scores;       // [rows, score_stride]; then the probabilities, A's format
  float* factors;      // [score_stride], of ValueScales
  float* factor;       // [rows]; what was accumulated so far is multiplied by it
  float* base;         // [rows]; the score whose probability is one
  float* weight;       // [rows]; of the slice's probabilities
  float* q_unit;       // [rows]; of A, of a mode that is kScaled
  float* p_unit;       // likewise
  float* v_row;        // units [head_dim]
  int q_stride;        // in floats
  int score_stride;
};

inline AttendBuffers Divide(const AttendTask& task, int rows, bool with_tile) {
  AttendBuffers buffers;
  buffers.q_stride = PadRow(task.head_dim);
  buffers.score_stride = PadRow(task.block_tokens);
  float* memory = task.scratch;
  buffers.tile = buffers.tile_scales = nullptr;
  if (with_tile) {
    buffers.tile = memory;
    buffers.tile_scales =
        memory + AttendTileScratch(task.block_tokens, task.head_dim) - PadRow(task.block_tokens);
    memory += AttendTileScratch(task.block_tokens, task.head_dim);
  }
  buffers.q = memory;
  buffers.scores = buffers.q + static_cast<std::int64_t>(rows) * buffers.q_stride;
  buffers.factors = buffers.scores + static_cast<std::int64_t>(rows) * buffers.score_stride;
  buffers.factor = buffers.factors + buffers.score_stride;
  buffers.base = buffers.factor + rows;
  buffers.weight = buffers.base + rows;
  buffers.q_unit = buffers.weight + rows;
  buffers.p_unit = buffers.q_unit + rows;
  buffers.v_row = buffers.p_unit + rows;
  return buffers;
}

// A tile as its product reads it.
struct Tile {
  const float* units = nullptr;
  int depth = 0;                  // units of a row of A that meet it
  const float* scales = nullptr;  // [tokens]; of a mode that is kScaled
};

// K, V and, where the type has them, the scales of the tokens of each, one after the other; `size`:
// of a tile, in floats.
inline const float* KeysOf(const SliceView& slice) {
  return reinterpret_cast<const float*>(slice.data);
}
inline const float* ValuesOf(const SliceView& slice, std::int64_t size) {
  return KeysOf(slice) + size;
}
inline const float* KeyScalesOf(const SliceView& slice, std::int64_t size) {
  return KeysOf(slice) + 2 * size;
}
inline const float* ValueScalesOf(const AttendTask& task, const SliceView& slice,
                                  std::int64_t size) {
  return KeyScalesOf(slice, size) + task.block_tokens;
}

// Tiles that a mode's products read as they lie in the slice.
template <class TheMode>
struct StoredTiles {
  using Mode = TheMode;
  static constexpr bool kMade = false;
  static constexpr int kPack = Mode::kPack;  // in the slice
  static constexpr bool kScalesInSlice = Mode::kScaled;
  // Magnitudes, of a mode that is kScaled: int8.
  static constexpr int kLargestKey = 127;
  static constexpr int kLargestValue = 127;

  static Tile Keys(const AttendTask& task, const SliceView& slice, std::int64_t size,
                   int /*tokens*/, const AttendBuffers& /*buffers*/) {
    return {.units = KeysOf(slice),
            .depth = task.head_dim / kPack,
            .scales = Mode::kScaled ? KeyScalesOf(slice, size) : nullptr};
  }
  static Tile Values(const AttendTask& task, const SliceView& slice, std::int64_t size, int tokens,
                     const AttendBuffers& /*buffers*/) {
    // Integers that were never written are finite, and meet probabilities of zero.
    return {.units = ValuesOf(slice, size),
            .depth = Mode::kScaled ? (tokens + kPack - 1) / kPack : tokens / kPack,
            .scales = Mode::kScaled ? ValueScalesOf(task, slice, size) : nullptr};
  }
};

template <class Tiles>
void PackQueries(const AttendTask& task, const AttendBuffers& buffers) {
  using Mode = typename Tiles::Mode;
  for (int r = 0; r < task.num_tokens * task.group; ++r) {
    const float* q = task.q + r / task.group * task.row_stride + r % task.group * task.head_dim;
    float* out = buffers.q + static_cast<std::int64_t>(r) * buffers.q_stride;
    Floats to_units = Set(1.0f);
    if constexpr (Mode::kScaled) {
      const float largest = LargestMagnitude(q, task.head_dim);
      const float limit = LargestShort(task.head_dim, Tiles::kLargestKey);
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

// acc = acc * factor + probabilities V over the first `tokens` tokens. next: [next_size].
template <class Mode>
void AddValues(const AttendTask& task, const AttendBuffers& buffers, const Tile& v, int tokens,
               const float* next, std::int64_t next_size) {
  TileProduct product = {.a = buffers.scores,
                         .a_stride = buffers.score_stride,
                         .b = v.units,
                         .b_stride = task.head_dim,
                         .depth = v.depth,
                         .c = task.acc,
                         .c_stride = task.head_dim,
                         .rows = task.num_tokens * task.group,
                         .columns = task.head_dim,
                         .factor = buffers.factor,
                         .unit = buffers.p_unit,
                         .next_b = next,
                         .next_size = next_size};
  Multiply<Mode, true>(product);
  if (Mode::kScaled || tokens % Mode::kPack == 0) return;
  // The last unit is half a token that was never written; even times zero it could be a NaN.
  const auto* units = reinterpret_cast<const std::uint16_t*>(
      v.units + static_cast<std::int64_t>(product.depth) * task.head_dim);
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

// scales: of the tokens' values, positive. A probability of one becomes `largest_a` at most.
// factors: [padded], room for them.
inline ValueScales ScaleValues(const float* scales, int tokens, float largest_a, float* factors) {
  const float largest = LargestMagnitude(scales, tokens);
  const Floats to_units = Set(largest > 0 ? largest_a / largest : 0.0f);
  Floats zeros = Zero();
  for (int t = 0; t < PadRow(tokens); t += kLanes) {
    const Floats of_tokens = LoadFirst(scales + t, tokens - t, Zero());
    Store(factors + t, Mul(of_tokens, to_units));
    zeros = MulAdd(of_tokens, Zero(), zeros);
  }
  // Integers would hide a scale that is not finite.
  return {.factors = factors, .unit = largest / largest_a + ReduceAdd(zeros)};
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
  for (int r = 0; r < rows; ++r) buffers.base[r] = Largest(row(r), visible(r));
  const Floats scale = Set(task.scale);
  for (int r = 0; r < rows; r += kLanes) {
    const int count = rows - r;
    // Finite, also where nothing was visible yet: sum and accumulator are zero there.
    const Floats lowest = Set(-3e38f);
    const Floats before = LoadFirst(task.max + r, count, Zero());
    const Floats largest = LoadFirst(buffers.base + r, count, Zero());
    const Floats here = Mul(largest, scale);
    const Floats max = Max(here, before);
    const Floats top = Max(max, lowest);
    // Integers are in units of the slice's own largest, so that one far below the others' keeps its
    // digits.
    const Floats base = Mode::kScaled ? Max(here, lowest) : top;
    const Floats weight = Exp(Sub(base, top));
    StoreFirst(task.max + r, count, max);
    StoreFirst(buffers.factor + r, count, Exp(Sub(before, top)));
    StoreFirst(buffers.base + r, count, Mode::kScaled ? Max(largest, lowest) : base);
    StoreFirst(buffers.weight + r, count, weight);
    StoreFirst(buffers.p_unit + r, count, Mul(weight, Set(scales.unit)));
  }
  const int padded = PadRow(tokens);
  for (int r = 0; r < rows; ++r) {
    const float total =
        Probabilities<Mode>(row(r), visible(r), padded, task.scale, buffers.base[r], scales);
    task.sum[r] = task.sum[r] * buffers.factor[r] + total * buffers.weight[r];
  }
}

template <class Tiles>
void Attend(const AttendTask& task) {
  using Mode = typename Tiles::Mode;
  const int rows = task.num_tokens * task.group;
  const AttendBuffers buffers = Divide(task, rows, Tiles::kMade);
  PackQueries<Tiles>(task, buffers);
  for (int r = 0; r < rows; ++r) {
    task.max[r] = -__builtin_inff();
    task.sum[r] = 0;
  }
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(rows) * task.head_dim; ++i) {
    task.acc[i] = 0;
  }
  const std::int64_t size =
      static_cast<std::int64_t>(task.head_dim) * task.block_tokens / Tiles::kPack;
  for (std::int64_t s = 0; s < task.num_slices; ++s) {
    const SliceView& slice = task.slices[s];
    const int tokens = VisibleTokens(slice, task.first_position + task.num_tokens - 1);
    if (tokens == 0) continue;
    const std::byte* next = s + 1 < task.num_slices ? task.slices[s + 1].data : task.next;
    // K and V are asked for by the products before theirs.
    if (Tiles::kScalesInSlice && next != nullptr) {
      const float* scales = KeyScalesOf({.data = next}, size);
      for (int i = 0; i < 2 * task.block_tokens; i += kLineFloats) PrefetchToL2(scales + i);
    }
    const Tile k = Tiles::Keys(task, slice, size, tokens, buffers);
    Multiply<Mode, false>({.a = buffers.q,
                           .a_stride = buffers.q_stride,
                           .b = k.units,
                           .b_stride = task.block_tokens,
                           .depth = k.depth,
                           .c = buffers.scores,
                           .c_stride = buffers.score_stride,
                           .rows = rows,
                           .columns = tokens,
                           .unit = buffers.q_unit,
                           .scales = k.scales,
                           .next_b = ValuesOf(slice, size),
                           .next_size = size});
    const Tile v = Tiles::Values(task, slice, size, tokens, buffers);
    ValueScales v_scales;
    if constexpr (Mode::kScaled) {
      v_scales = ScaleValues(v.scales, tokens, LargestShort(tokens, Tiles::kLargestValue),
                             buffers.factors);
    }
    Softmax<Mode>(task, buffers, slice, tokens, v_scales);
    AddValues<Mode>(task, buffers, v, tokens, reinterpret_cast<const float*>(next), size);
  }
}

}  // namespace
}  // namespace esa
