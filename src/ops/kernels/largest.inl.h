// The largest of a row of values. Include after one of vec_*.h.
#pragma once

#include <cstdint>

namespace esa {
namespace {

// -inf of none.
inline float Largest(const float* values, std::int64_t count) {
  const Floats lowest = Set(-__builtin_inff());
  Floats top = lowest;
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) top = Max(top, Load(values + i));
  if (i < count) top = Max(top, LoadFirst(values + i, count - i, lowest));
  return ReduceMax(top);
}

// The largest magnitude; 0 of none.
inline float LargestMagnitude(const float* values, std::int64_t count) {
  Floats top = Zero();
  for (std::int64_t i = 0; i < count; i += kLanes) {
    const Floats x = LoadFirst(values + i, count - i, Zero());
    top = Max(top, Max(x, Sub(Zero(), x)));
  }
  return ReduceMax(top);
}

}  // namespace
}  // namespace esa
