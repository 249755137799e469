// Tiles brought to integers of 16 bits, for query rows that are many: a core with AVX2 adds up
// products of these half as fast again as those of f32, and bringing a tile into this form costs as
// much as a dozen rows. Include after one of vec_*.h.
//
// A token's K is in units of its scale, which its score is multiplied by, and its V likewise, whose
// scale its probability is multiplied by. int8 has these scales, and its integers are only widened.
// Those of bf16 are made, so that the token's largest magnitude is as many units as leave its sums
// of products within 32 bits. What is not finite makes a scale that is not.
#pragma once

#include "ops/kernels/attention.inl.h"

namespace esa {
namespace {

// The first `count`, which may be more than there are lanes.
inline Floats LoadSome(const float* p, int count) {
  return count >= kLanes ? Load(p) : LoadFirst(p, count, Zero());
}
inline void StoreSome(float* p, int count, Floats x) {
  count >= kLanes ? Store(p, x) : StoreFirst(p, count, x);
}

// Of fours of signed bytes, as 16 bits: the first two, the last two.
inline Floats FirstBytes(Floats units) {
  return WidenedBytes(units,
                      _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13));
}
inline Floats LastBytes(Floats units) {
  return WidenedBytes(units,
                      _mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15));
}

// A unit is two integers of 16 bits, as they lie.
struct ShortMode : IntMode {
  static constexpr int kPack = 2;
  static constexpr int kUnitFloats = 1;
  static constexpr int kTerms = 1;
  template <int kTerm>
  static Ints B(Floats units) {
    return BitsOf(units);
  }
  // x0, x1: whole numbers that fit.
  static void Pack(float* row, int at, Floats x0, Floats x1) { StoreInt16(row + at / 2, x0, x1); }
};

struct WidenedInt8Tiles {
  using Mode = ShortMode;
  static constexpr bool kMade = true;
  static constexpr int kPack = 4;
  static constexpr bool kScalesInSlice = true;
  static constexpr int kLargestKey = 127;
  static constexpr int kLargestValue = 127;

  static Tile Keys(const AttendTask& task, const SliceView& slice, std::int64_t size,
                   int /*tokens*/, const AttendBuffers& buffers) {
    const int depth = task.head_dim / kPack;
    Widen(KeysOf(slice), depth, task.block_tokens, buffers.tile);
    return {.units = buffers.tile, .depth = 2 * depth, .scales = KeyScalesOf(slice, size)};
  }
  static Tile Values(const AttendTask& task, const SliceView& slice, std::int64_t size, int tokens,
                     const AttendBuffers& buffers) {
    const int depth = (tokens + kPack - 1) / kPack;
    Widen(ValuesOf(slice, size), depth, task.head_dim, buffers.tile);
    return {.units = buffers.tile, .depth = 2 * depth, .scales = ValueScalesOf(task, slice, size)};
  }

 private:
  // units [depth, columns] -> [depth, 2, columns]
  static void Widen(const float* units, int depth, int columns, float* out) {
    for (int k = 0; k < depth; ++k) {
      for (int i = 0; i < columns; i += kLanes) {
        const int count = columns - i;
        const Floats four = LoadSome(units + i, count);
        StoreSome(out + i, count, FirstBytes(four));
        StoreSome(out + columns + i, count, LastBytes(four));
      }
      units += columns;
      out += 2 * columns;
    }
  }
};

struct RoundedBf16Tiles {
  using Mode = ShortMode;
  static constexpr bool kMade = true;
  static constexpr int kPack = 2;
  static constexpr bool kScalesInSlice = false;
  // Probabilities of a slice differ more than the values of a token: they get more of the bits.
  static constexpr int kLargestKey = 4095;
  static constexpr int kLargestValue = 1023;

  static Tile Keys(const AttendTask& task, const SliceView& slice, std::int64_t /*size*/,
                   int tokens, const AttendBuffers& buffers) {
    const std::int64_t stride = task.block_tokens;
    const int depth = task.head_dim / kPack;
    for (int t = 0; t < tokens; t += kLanes) {
      const int count = task.block_tokens - t;
      const float* k = KeysOf(slice) + t;
      Ints top = ZeroInts();
      for (int i = 0; i < depth; ++i) {
        top = MaxMagnitudes(top, LoadSome(k + i * stride, count));
      }
      const Floats largest = LargerOfBf16(top);
      const Floats to_units = Div(Set(kLargestKey), largest);
      StoreSome(buffers.tile_scales + t, count, Mul(largest, Set(1.0f / kLargestKey)));
      float* out = buffers.tile + t;
      for (int i = 0; i < depth; ++i) {
        const Floats pairs = LoadSome(k + i * stride, count);
        StoreSome(out + i * stride, count,
                  PairsOfShorts(Mul(LowerBf16(pairs), to_units), Mul(UpperBf16(pairs), to_units)));
      }
    }
    return {.units = buffers.tile, .depth = depth, .scales = buffers.tile_scales};
  }

  static Tile Values(const AttendTask& task, const SliceView& slice, std::int64_t size, int tokens,
                     const AttendBuffers& buffers) {
    const int dim = task.head_dim;
    const int depth = (tokens + kPack - 1) / kPack;
    float* largest = buffers.tile_scales;
    const float* v = ValuesOf(slice, size);
    for (int t = 0; t < depth; ++t, v += dim) {
      Ints top = ZeroInts();
      for (int i = 0; i < dim; i += kLanes) top = MaxMagnitudes(top, LoadSome(v + i, dim - i));
      LargestOfBf16(top, largest + kPack * t);
    }
    // The last may be a token that was never written.
    if (tokens % kPack != 0) largest[tokens] = 0;
    v = ValuesOf(slice, size);
    float* out = buffers.tile;
    for (int t = 0; t < depth; ++t, v += dim, out += dim) {
      const float* two = largest + kPack * t;
      const Floats lower_units = Set(two[0] > 0 ? kLargestValue / two[0] : 0.0f);
      const Floats upper_units = Set(two[1] > 0 ? kLargestValue / two[1] : 0.0f);
      for (int i = 0; i < dim; i += kLanes) {
        const Floats pairs = LoadSome(v + i, dim - i);
        StoreSome(
            out + i, dim - i,
            PairsOfShorts(Mul(LowerBf16(pairs), lower_units), Mul(UpperBf16(pairs), upper_units)));
      }
    }
    for (int t = 0; t < tokens; t += kLanes) {
      const int count = task.block_tokens - t;
      StoreSome(largest + t, count, Mul(LoadSome(largest + t, count), Set(1.0f / kLargestValue)));
    }
    return {.units = buffers.tile, .depth = depth, .scales = buffers.tile_scales};
  }
};

}  // namespace
}  // namespace esa
