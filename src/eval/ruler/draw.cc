#include "eval/ruler/draw.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/ruler/word_lists.h"

namespace esa::ruler {
namespace {

std::string DrawUuid(SplitMix64* rng) {
  const std::uint64_t high = (rng->Next() & ~std::uint64_t{0xf000}) | 0x4000;  // version 4
  const std::uint64_t low = (rng->Next() & (~std::uint64_t{0} >> 2)) | (std::uint64_t{1} << 63);
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff,
                     high & 0xffff, low >> 48, low & 0xffffffffffff);
}

}  // namespace

std::string_view PluralOf(ValueKind kind) {
  switch (kind) {
    case ValueKind::kWords:
      return "words";
    case ValueKind::kNumbers:
      return "numbers";
    case ValueKind::kUuids:
      break;
  }
  return "uuids";
}

std::string DrawValue(ValueKind kind, SplitMix64* rng) {
  switch (kind) {
    case ValueKind::kWords: {
      const std::string_view adjective = Adjectives()[rng->Below(Adjectives().size())];
      return fmt::format("{}-{}", adjective, Nouns()[rng->Below(Nouns().size())]);
    }
    case ValueKind::kNumbers:
      return fmt::format("{}", 1'000'000 + rng->Below(9'000'000));
    case ValueKind::kUuids:
      break;
  }
  return DrawUuid(rng);
}

std::string DrawLetters(char first, int length, SplitMix64* rng) {
  std::string letters;
  for (int i = 0; i < length; ++i) letters += static_cast<char>(first + rng->Below(26));
  return letters;
}

std::vector<std::int64_t> Sample(std::int64_t population, std::int64_t count, SplitMix64* rng) {
  std::vector<std::int64_t> drawn;
  while (static_cast<std::int64_t>(drawn.size()) < count) {
    const auto number =
        static_cast<std::int64_t>(rng->Below(static_cast<std::uint64_t>(population)));
    if (std::find(drawn.begin(), drawn.end(), number) == drawn.end()) drawn.push_back(number);
  }
  return drawn;
}

}  // namespace esa::ruler
