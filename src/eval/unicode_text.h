// The little of Unicode that the metrics need, agreeing with Python's str methods.
//
// Threading: pure functions. Invalid UTF-8 is read as U+FFFD, one a byte.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace esa {

std::u32string DecodeUtf8(std::string_view text);
void AppendCodePoint(char32_t code_point, std::string* out);
std::string EncodeUtf8(std::u32string_view text);

bool IsSpace(char32_t c);             // str.isspace
bool IsPythonWord(char32_t c);        // \w
bool IsDecimalDigit(char32_t c);      // \d
bool IsAsciiPunctuation(char32_t c);  // string.punctuation
std::u32string ToLower(std::u32string_view text);

// str.split(): the runs of characters that are not space.
std::vector<std::u32string> SplitWords(std::u32string_view text);

}  // namespace esa
