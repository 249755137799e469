// Rewrites a regular expression from the dialect of tokenizer.json (Oniguruma, Unicode) to that of
// PCRE2, refusing what the two would read differently.
//
// Threading: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "esa/result.h"

namespace esa {

// kDataError says which construct is not understood, without naming file or field.
Result<std::string> TranslatePattern(std::string_view pattern);

}  // namespace esa
