// LongBench's metric of code: how alike two lines are. Private to eval.
//
// Threading: pure functions.
#pragma once

#include <string_view>

namespace esa {

// 2 * matches / (both lengths): the ratio of Python's difflib.SequenceMatcher(None, a, b), in its
// choice of matching blocks and with its rule that characters which occur more than
// b.size() / 100 + 1 times in a `b` of 200 or more begin no match. Not symmetric. In [0, 1]; 1
// where both are empty. Source: https://docs.python.org/3/library/difflib.html
double SequenceRatio(std::u32string_view a, std::u32string_view b);

// In whole percent, halves to the even one; 0 where one text is empty, 1 where they are equal. What
// fuzzywuzzy's fuzz.ratio says, over 100, where python-Levenshtein is not installed.
double PercentRatio(std::string_view a, std::string_view b);

// Of the first line of the prediction, after leading newlines, that has none of ` # //, with the
// answer; of "" where there is none.
double CodeSimilarity(std::string_view prediction, std::string_view answer);

}  // namespace esa
