#include "engine/output_text.h"

#include <algorithm>

namespace esa {
namespace {

// Length of the longest end of `text` that is a begin of `stop`.
std::size_t Overlap(const std::string& text, const std::string& stop) {
  std::size_t length = std::min(text.size(), stop.size() - 1);
  while (length > 0 && text.compare(text.size() - length, length, stop, 0, length) != 0) --length;
  return length;
}

}  // namespace

std::string OutputText::Show(const std::string& piece, bool all) {
  held_ += piece;
  std::size_t hold = 0;
  std::size_t end = held_.size();
  for (const std::string& stop : stop_) {
    if (stop.empty()) continue;
    const std::size_t at = held_.find(stop);
    if (at != std::string::npos) {
      stopped_ = true;
      end = std::min(end, at);
    }
    if (!all) hold = std::max(hold, Overlap(held_, stop));
  }
  if (!stopped_) end -= hold;
  std::string shown = held_.substr(0, end);
  held_.erase(0, end);
  text_ += shown;
  return shown;
}

}  // namespace esa
