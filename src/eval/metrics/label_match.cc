#include "eval/metrics/label_match.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "eval/unicode_text.h"

namespace esa {
namespace {

std::size_t EndOfNumber(std::u32string_view text, std::size_t begin) {
  while (begin < text.size() && IsDecimalDigit(text[begin])) ++begin;
  return begin;
}

}  // namespace

double CountMatch(std::string_view prediction, std::string_view number) {
  const std::u32string text = DecodeUtf8(prediction);
  const std::u32string expected = DecodeUtf8(number);
  std::size_t numbers = 0;
  std::size_t right = 0;
  for (std::size_t begin = 0; begin < text.size(); ++begin) {
    const std::size_t end = EndOfNumber(text, begin);
    if (end == begin) continue;
    ++numbers;
    if (std::u32string_view(text).substr(begin, end - begin) == expected) ++right;
    begin = end;
  }
  return numbers == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(numbers);
}

Result<double> RetrievalMatch(std::string_view prediction, std::string_view answer,
                              std::string_view label) {
  const std::u32string text = DecodeUtf8(answer);
  const std::u32string before = DecodeUtf8(label);
  for (std::size_t at = text.find(before); at != text.npos; at = text.find(before, at + 1)) {
    const std::size_t begin = at + before.size();
    const std::size_t end = EndOfNumber(text, begin);
    if (end == begin) continue;
    return CountMatch(prediction, EncodeUtf8(std::u32string_view(text).substr(begin, end - begin)));
  }
  return DataError(fmt::format("answer \"{}\": expected \"{}\" and a number in it", answer, label));
}

double ClassificationMatch(std::string_view prediction, std::string_view answer,
                           std::span<const std::string> all_classes) {
  std::vector<std::string_view> named;
  for (const std::string& name : all_classes) {
    if (prediction.find(name) != prediction.npos) named.push_back(name);
  }
  for (std::size_t i = 0; i < named.size(); ++i) {
    if (named[i] == answer || answer.find(named[i]) == answer.npos) continue;
    named.erase(std::find(named.begin(), named.end(), named[i]));
  }
  if (std::find(named.begin(), named.end(), answer) == named.end()) return 0.0;
  return 1.0 / static_cast<double>(named.size());
}

}  // namespace esa
