// The words of the RULER tasks. Private to eval.
//
// RULER takes its words from the package wonderwords; these lists are this project's own.
// Threading: pure functions.
#pragma once

#include <span>
#include <string_view>

namespace esa::ruler {

// All words of all lists are different, in lower case, letters only.
std::span<const std::string_view> Adjectives();
std::span<const std::string_view> Nouns();
std::span<const std::string_view> CommonWords();

}  // namespace esa::ruler
