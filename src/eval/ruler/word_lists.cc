#include "eval/ruler/word_lists.h"

namespace esa::ruler {
namespace {

#include "eval/ruler/words.inc"

}  // namespace

std::span<const std::string_view> Adjectives() { return kAdjectives; }
std::span<const std::string_view> Nouns() { return kNouns; }
std::span<const std::string_view> CommonWords() { return kCommonWords; }

}  // namespace esa::ruler
