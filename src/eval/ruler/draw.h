// What the RULER tasks draw at random. Private to eval.
//
// Everything comes from SplitMix64 by integer arithmetic, so that a seed gives the same on every
// platform. Threading: pure functions of the generator given.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"

namespace esa::ruler {

// What a key or a value of a needle is made of.
enum class ValueKind {
  kWords,    // adjective-noun
  kNumbers,  // 7 digits, the first not 0
  kUuids,    // of version 4
};

// As the prompt calls several of them: "numbers".
std::string_view PluralOf(ValueKind kind);

std::string DrawValue(ValueKind kind, SplitMix64* rng);

// `length` letters from `first` to the 25th after it.
std::string DrawLetters(char first, int length, SplitMix64* rng);

// `count` different numbers below `population`, in the order drawn; 0 < count <= population.
std::vector<std::int64_t> Sample(std::int64_t population, std::int64_t count, SplitMix64* rng);

template <class T>
void Shuffle(std::vector<T>* items, SplitMix64* rng) {
  for (std::size_t i = items->size(); i > 1; --i) {
    std::swap((*items)[i - 1], (*items)[rng->Below(i)]);
  }
}

// `count` values of `draw`, all different.
template <class Draw>
std::vector<std::string> DrawDifferent(std::size_t count, const Draw& draw) {
  std::vector<std::string> drawn;
  while (drawn.size() < count) {
    std::string value = draw();
    bool known = false;
    for (const std::string& other : drawn) known = known || other == value;
    if (!known) drawn.push_back(std::move(value));
  }
  return drawn;
}

}  // namespace esa::ruler
