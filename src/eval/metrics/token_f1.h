// LongBench's metric of questions: how many words prediction and answer share. Private to eval.
//
// Threading: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace esa {

class ChineseSegmenter;

// Lower case, without punctuation, English articles and superfluous space.
std::u32string NormalizeEnglish(std::string_view text);

// Harmonic mean of precision and recall over the bag of tokens, in [0, 1].
double TokenF1(std::vector<std::u32string> prediction, std::vector<std::u32string> answer);

double QaF1(std::string_view prediction, std::string_view answer);
double QaF1Chinese(std::string_view prediction, std::string_view answer,
                   const ChineseSegmenter& segmenter);

// 1 where the normalised texts are equal, else 0.
double Exact(std::string_view prediction, std::string_view answer);

}  // namespace esa
