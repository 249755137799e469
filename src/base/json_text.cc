#include "base/json_text.h"

#include <algorithm>

namespace esa {

std::string JsonErrorText(std::string_view what) {
  const auto code_end = what.find("] ");
  if (what.starts_with("[json.exception") && code_end != std::string_view::npos) {
    what.remove_prefix(code_end + 2);
  }
  std::string text(what);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace esa
