// LongBench's metrics of short answers that are right or wrong: numbers and classes. Private to
// eval.
//
// Threading: pure functions. Scores are in [0, 1].
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "esa/result.h"

namespace esa {

// The part of the numbers in the prediction that equal `number`, digit by digit; 0 where it has
// none.
double CountMatch(std::string_view prediction, std::string_view number);

// CountMatch with the first number that stands right behind `label` in the answer: "Paragraph ",
// "段落". Error: there is none.
Result<double> RetrievalMatch(std::string_view prediction, std::string_view answer,
                              std::string_view label);

// 1 / n where the answer is among the n classes that are named in the prediction, else 0. Classes
// whose name is a part of the answer's do not count, by a loop of LongBench's that overlooks the
// class behind one it has struck out.
double ClassificationMatch(std::string_view prediction, std::string_view answer,
                           std::span<const std::string> all_classes);

}  // namespace esa
