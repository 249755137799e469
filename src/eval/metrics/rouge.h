// ROUGE-L as LongBench takes it from the Python package `rouge` 1.0.1: its rouge-l f over a whole
// summary. Private to eval.
// Source: https://github.com/pltrdy/rouge
//
// Threading: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace esa {

class ChineseSegmenter;

// A sentence ends at every full stop "."; words are what spaces separate. Taken are the different
// words of one longest common subsequence of each pair of sentences; precision and recall are their
// part of the different words of prediction and answer. In [0, 1); 0 where either text has no
// sentence. Time grows as the product of the texts' words, memory with that of two sentences (one
// bit).
double RougeL(std::u32string_view prediction, std::u32string_view answer);

double Rouge(std::string_view prediction, std::string_view answer);
// Over the words of the segmenter with spaces between them.
double RougeChinese(std::string_view prediction, std::string_view answer,
                    const ChineseSegmenter& segmenter);

}  // namespace esa
