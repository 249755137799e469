// A small generator of pseudo-random numbers that gives the same numbers everywhere, unlike the
// distributions of the standard library: splitmix64.
// Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
//
// Threading: one thread at a time.
#pragma once

#include <cstdint>

namespace esa {

class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) : state_(seed) {}

  std::uint64_t Next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // In [0, bound); bound below 2^32, which keeps the bias under 2^-32.
  std::uint64_t Below(std::uint64_t bound) { return ((Next() >> 32) * bound) >> 32; }

 private:
  std::uint64_t state_;
};

}  // namespace esa
