#include "eval/ruler/string_match.h"

#include <string>

#include "eval/unicode_text.h"

namespace esa::ruler {

double StringMatch(std::string_view prediction, std::string_view reference) {
  const std::u32string text = ToLower(DecodeUtf8(prediction));
  return text.find(ToLower(DecodeUtf8(reference))) != std::u32string::npos ? 1.0 : 0.0;
}

}  // namespace esa::ruler
