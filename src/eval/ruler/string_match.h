// RULER's metrics. Private to eval.
//
// string_match_all is the part of the references that a prediction contains, string_match_part
// whether it contains one of them: both are made of this, averaged and maximised.
// Source: https://github.com/NVIDIA/RULER, scripts/eval/synthetic/constants.py.
// Threading: pure function.
#pragma once

#include <string_view>

namespace esa::ruler {

// 1 where `prediction` contains `reference`, both in lower case, else 0.
double StringMatch(std::string_view prediction, std::string_view reference);

}  // namespace esa::ruler
