// Vectors of four f32 values through Highway: NEON on ARM, SSE4 on x86, whatever the compiler's
// flags allow where this is included.
// The names are those of vec_avx512.h: the kernels in *.inl.h are written against either.
#pragma once

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

namespace esa {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr int kLanes = 4;
using FloatTag = hn::FixedTag<float, kLanes>;
using IntTag = hn::FixedTag<std::int32_t, kLanes>;
using WordTag = hn::FixedTag<std::uint32_t, kLanes>;
using ShortTag = hn::FixedTag<std::int16_t, 2 * kLanes>;
using HalfTag = hn::FixedTag<std::uint16_t, kLanes>;

// Types of their own: an argument of one of Highway's would bring its functions of these names
// along.
struct Floats {
  hn::Vec<FloatTag> v;
};
using Halves = hn::Vec<HalfTag>;

// See vec_avx512.h; for sixteen registers, of which ARM has twice as many.
inline constexpr int kWideRows = 4;
inline constexpr int kWideVectors = 2;
inline constexpr int kTallRows = 4;
inline constexpr int kTallVectors = 2;
inline constexpr int kMaxSums = 12;
inline constexpr int kWideIntRows = 4;
inline constexpr int kWideIntVectors = 2;
inline constexpr int kTallIntRows = 4;
inline constexpr int kTallIntVectors = 2;

inline Floats Zero() { return {hn::Zero(FloatTag())}; }
inline Floats Set(float x) { return {hn::Set(FloatTag(), x)}; }
inline Floats Load(const float* p) { return {hn::LoadU(FloatTag(), p)}; }
// The first `count` lanes; `count` may be negative or beyond kLanes. Other lanes: `other`. Nothing
// behind them is read.
inline Floats LoadFirst(const float* p, std::int64_t count, Floats other) {
  if (count >= kLanes) return Load(p);
  alignas(16) float lanes[kLanes];
  hn::Store(other.v, FloatTag(), lanes);
  for (int i = 0; i < count; ++i) lanes[i] = p[i];
  return {hn::Load(FloatTag(), lanes)};
}
inline void Store(float* p, Floats x) { hn::StoreU(x.v, FloatTag(), p); }
inline void StoreFirst(float* p, std::int64_t count, Floats x) {
  if (count >= kLanes) return Store(p, x);
  alignas(16) float lanes[kLanes];
  hn::Store(x.v, FloatTag(), lanes);
  for (int i = 0; i < count; ++i) p[i] = lanes[i];
}
// x where the lane is one of the first `count`, else zero.
inline Floats KeepFirst(Floats x, std::int64_t count) {
  const std::int64_t lanes = count < 0 ? 0 : count < kLanes ? count : kLanes;
  return {hn::IfThenElseZero(hn::FirstN(FloatTag(), static_cast<std::size_t>(lanes)), x.v)};
}

inline Floats Add(Floats a, Floats b) { return {hn::Add(a.v, b.v)}; }
inline Floats Sub(Floats a, Floats b) { return {hn::Sub(a.v, b.v)}; }
inline Floats Mul(Floats a, Floats b) { return {hn::Mul(a.v, b.v)}; }
inline Floats Div(Floats a, Floats b) { return {hn::Div(a.v, b.v)}; }
inline Floats MulAdd(Floats a, Floats b, Floats c) { return {hn::MulAdd(a.v, b.v, c.v)}; }
inline Floats NegMulAdd(Floats a, Floats b, Floats c) { return {hn::NegMulAdd(a.v, b.v, c.v)}; }
// b where either is not a number.
inline Floats Max(Floats a, Floats b) { return {hn::IfThenElse(hn::Gt(a.v, b.v), a.v, b.v)}; }
inline Floats Min(Floats a, Floats b) { return {hn::IfThenElse(hn::Lt(a.v, b.v), a.v, b.v)}; }
inline Floats Sqrt(Floats x) { return {hn::Sqrt(x.v)}; }
inline Floats Round(Floats x) { return {hn::Round(x.v)}; }

// Integers: kShorts of 16 bits, or half as many sums of their products of 32 bits.
struct Ints {
  hn::Vec<IntTag> v;
};
inline constexpr int kShorts = 8;

inline Ints BitsOf(Floats x) { return {hn::BitCast(IntTag(), x.v)}; }
inline Floats FloatsOfBits(Ints x) { return {hn::BitCast(FloatTag(), x.v)}; }
inline Ints SetInts(std::int32_t x) { return {hn::Set(IntTag(), x)}; }
inline Ints AddInts(Ints a, Ints b) { return {hn::Add(a.v, b.v)}; }
inline Ints And(Ints a, Ints b) { return {hn::And(a.v, b.v)}; }
template <int kBits>
inline Ints ShiftLeft(Ints x) {
  return {hn::ShiftLeft<kBits>(x.v)};
}
template <int kBits>
inline Ints ShiftRight(Ints x) {
  return {hn::ShiftRight<kBits>(x.v)};
}

// x * 2^n for integral n in [-126, 127].
inline Floats Scale(Floats x, Floats n) {
  const Ints exponent = AddInts({hn::NearestInt(n.v)}, SetInts(127));
  return Mul(x, FloatsOfBits(ShiftLeft<23>(exponent)));
}
// x * 2^n, n in the low bits of `bits`, as a signed integer; x and the result normal numbers.
inline Floats AddExponent(Floats x, Floats bits) {
  return FloatsOfBits(AddInts(BitsOf(x), ShiftLeft<23>(BitsOf(bits))));
}
// x = mantissa * 2^n, the mantissa in [sqrt(1/2), sqrt(2)); for positive normal x. Returns n.
inline Floats SplitExponent(Floats x, Floats* mantissa) {
  const Ints bits = BitsOf(x);
  const Ints n = ShiftRight<23>({hn::Sub(bits.v, SetInts(0x3f3504f3).v)});
  *mantissa = FloatsOfBits({hn::Sub(bits.v, ShiftLeft<23>(n).v)});
  return {hn::ConvertTo(FloatTag(), n.v)};
}
inline float ReduceAdd(Floats x) { return hn::GetLane(hn::SumOfLanes(FloatTag(), x.v)); }
inline float ReduceMax(Floats x) { return hn::GetLane(hn::MaxOfLanes(FloatTag(), x.v)); }
// The sums of four vectors.
inline Fours ReduceAdd4(Floats a, Floats b, Floats c, Floats d) {
  return Fours{ReduceAdd(a), ReduceAdd(b), ReduceAdd(c), ReduceAdd(d)};
}

// Pairs of bf16: the value at the lower address, the one at the higher.
inline Floats LowerBf16(Floats pairs) { return FloatsOfBits(ShiftLeft<16>(BitsOf(pairs))); }
inline Floats UpperBf16(Floats pairs) { return FloatsOfBits(And(BitsOf(pairs), SetInts(-65536))); }

inline Halves LoadFirst16(const std::uint16_t* p, std::int64_t count) {
  alignas(16) std::uint16_t values[kLanes] = {};
  for (int i = 0; i < kLanes && i < count; ++i) values[i] = p[i];
  return hn::Load(HalfTag(), values);
}
inline Floats FromBf16(Halves x) {
  return {hn::BitCast(FloatTag(), hn::ShiftLeft<16>(hn::PromoteTo(WordTag(), x)))};
}
inline Floats FromF16(Halves x) {
  return {hn::PromoteTo(FloatTag(), hn::BitCast(hn::FixedTag<hwy::float16_t, kLanes>(), x))};
}
inline Floats LoadBf16(const std::uint16_t* p) { return FromBf16(hn::LoadU(HalfTag(), p)); }
inline Floats LoadFirstBf16(const std::uint16_t* p, std::int64_t count) {
  return FromBf16(LoadFirst16(p, count));
}
inline Floats LoadF16(const std::uint16_t* p) { return FromF16(hn::LoadU(HalfTag(), p)); }
inline Floats LoadFirstF16(const std::uint16_t* p, std::int64_t count) {
  return FromF16(LoadFirst16(p, count));
}

// Rounded to nearest, ties to even; a NaN stays a (quiet) NaN.
inline void StoreFirstBf16(std::uint16_t* p, std::int64_t count, Floats x) {
  const Ints bits = BitsOf(x);
  const Ints odd = And(ShiftRight<16>(bits), SetInts(1));
  const Ints rounded = AddInts(bits, AddInts(odd, SetInts(0x7fff)));
  const auto quiet = hn::Or(bits.v, SetInts(0x400000).v);
  const auto is_number = hn::RebindMask(IntTag(), hn::Eq(x.v, x.v));
  alignas(16) std::int32_t lanes[kLanes];
  hn::Store(hn::IfThenElse(is_number, rounded.v, quiet), IntTag(), lanes);
  for (int i = 0; i < kLanes && i < count; ++i) {
    p[i] = static_cast<std::uint16_t>(static_cast<std::uint32_t>(lanes[i]) >> 16);
  }
}

inline Ints ZeroInts() { return {hn::Zero(IntTag())}; }
inline Ints LoadInt16(const std::int16_t* p) {
  return {hn::BitCast(IntTag(), hn::LoadU(ShortTag(), p))};
}
inline Ints LoadInt8(const std::int8_t* p) {
  const auto bytes = hn::LoadU(hn::FixedTag<std::int8_t, kShorts>(), p);
  return {hn::BitCast(IntTag(), hn::PromoteTo(ShortTag(), bytes))};
}
// The first `count`, at most kShorts; the others are zero.
inline Ints LoadFirstInt8(const std::int8_t* p, std::int64_t count) {
  alignas(16) std::int8_t values[2 * kShorts] = {};
  for (int i = 0; i < count; ++i) values[i] = p[i];
  return LoadInt8(values);
}
inline Ints AddProducts(Ints a, Ints b, Ints sums) {
  const auto lower = [](Ints x) { return ShiftRight<16>(ShiftLeft<16>(x)).v; };
  const auto upper = hn::Mul(ShiftRight<16>(a).v, ShiftRight<16>(b).v);
  return {hn::Add(sums.v, hn::Add(hn::Mul(lower(a), lower(b)), upper))};
}
inline Floats FloatsFromInts(Ints x) { return {hn::ConvertTo(FloatTag(), x.v)}; }
inline Fours ReduceAdd4(Ints a, Ints b, Ints c, Ints d) {
  const auto sum = [](Ints x) {
    return static_cast<float>(hn::GetLane(hn::SumOfLanes(IntTag(), x.v)));
  };
  return Fours{sum(a), sum(b), sum(c), sum(d)};
}
// Of pairs of signed bytes, as 16 bits: the one at the lower address, the one at the higher.
inline Ints EvenBytes(Floats units) {
  const auto pairs = hn::BitCast(ShortTag(), units.v);
  return {hn::BitCast(IntTag(), hn::ShiftRight<8>(hn::ShiftLeft<8>(pairs)))};
}
inline Ints OddBytes(Floats units) {
  return {hn::BitCast(IntTag(), hn::ShiftRight<8>(hn::BitCast(ShortTag(), units.v)))};
}
// Whole numbers as 16 bits, of each four the first, the third, the second and the fourth.
inline void StoreEvenOddInt16(float* p, Floats x0, Floats x1) {
  alignas(16) std::int32_t lanes[2 * kLanes];
  hn::Store(hn::NearestInt(x0.v), IntTag(), lanes);
  hn::Store(hn::NearestInt(x1.v), IntTag(), lanes + kLanes);
  std::int16_t shorts[2 * kLanes];
  constexpr int kOrder[kLanes] = {0, 2, 1, 3};
  for (int i = 0; i < 2 * kLanes; ++i) {
    const std::int32_t lane = lanes[i / kLanes * kLanes + kOrder[i % kLanes]];
    shorts[i] = static_cast<std::int16_t>(lane > 0x7fff ? 0x7fff : lane < -0x8000 ? -0x8000 : lane);
  }
  std::memcpy(p, shorts, sizeof(shorts));
}

// Integers in the order of the values, zero for NaN. Minus zero equals zero.
inline Ints OrderOf(Floats x) {
  const Ints bits = BitsOf(Add(x, Zero()));
  const auto flip = hn::Or(ShiftRight<31>(bits).v, SetInts(INT32_MIN).v);
  const auto is_number = hn::RebindMask(IntTag(), hn::Eq(x.v, x.v));
  return {hn::IfThenElseZero(is_number, hn::Xor(bits.v, flip))};
}
inline void StoreFirst32(std::uint32_t* p, std::int64_t count, Ints x) {
  alignas(16) std::int32_t lanes[kLanes];
  hn::Store(x.v, IntTag(), lanes);
  for (int i = 0; i < kLanes && i < count; ++i) p[i] = static_cast<std::uint32_t>(lanes[i]);
}
// A bit for each of kLanes values: whether it is larger than `than`, whether it equals it.
inline std::uint32_t LargerBits(const std::uint32_t* p, std::uint32_t than) {
  std::uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= static_cast<std::uint32_t>(p[i] > than) << i;
  return bits;
}
inline std::uint32_t EqualBits(const std::uint32_t* p, std::uint32_t to) {
  std::uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= static_cast<std::uint32_t>(p[i] == to) << i;
  return bits;
}
// Writes base + the place of each set bit; up to kLanes values are written.
inline void StorePlaces(std::int32_t* p, std::int32_t base, std::uint32_t bits) {
  for (; bits != 0; bits &= bits - 1) *p++ = base + __builtin_ctz(bits);
}

inline void Prefetch(const void* p) { __builtin_prefetch(p); }
// Into the cache of level 2, which can ask memory for more lines at a time.
inline void PrefetchToL2(const void* p) { __builtin_prefetch(p, 0, 2); }

}  // namespace
}  // namespace esa
