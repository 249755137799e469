#include "eval/metrics/code_similarity.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "eval/unicode_text.h"

namespace esa {
namespace {

struct Block {
  std::size_t a = 0;
  std::size_t b = 0;
  std::size_t size = 0;
};

// A part of both texts that is still to be matched.
struct Range {
  std::size_t a_begin = 0;
  std::size_t a_end = 0;
  std::size_t b_begin = 0;
  std::size_t b_end = 0;
};

class Matcher {
 public:
  Matcher(std::u32string_view a, std::u32string_view b)
      : a_(a), b_(b), ends_here_(b.size()), ended_before_(b.size()) {
    for (std::size_t j = 0; j < b.size(); ++j) positions_[b[j]].push_back(j);
    constexpr std::size_t kShort = 200;
    if (b.size() < kShort) return;
    const std::size_t popular = b.size() / 100 + 1;
    std::erase_if(positions_, [&](const auto& entry) { return entry.second.size() > popular; });
  }

  // Sum of the sizes of all matching blocks: the longest one, then those left and right of it.
  std::size_t CountMatches() {
    std::size_t matches = 0;
    std::vector<Range> open = {{0, a_.size(), 0, b_.size()}};
    while (!open.empty()) {
      const Range range = open.back();
      open.pop_back();
      const Block block = Extended(LongestIn(range), range);
      if (block.size == 0) continue;
      matches += block.size;
      if (range.a_begin < block.a && range.b_begin < block.b) {
        open.push_back({range.a_begin, block.a, range.b_begin, block.b});
      }
      if (block.a + block.size < range.a_end && block.b + block.size < range.b_end) {
        open.push_back({block.a + block.size, range.a_end, block.b + block.size, range.b_end});
      }
    }
    return matches;
  }

 private:
  using Positions = std::vector<std::size_t>;

  const Positions& PositionsOf(char32_t c) const {
    static const Positions kNone;
    const auto found = positions_.find(c);
    return found == positions_.end() ? kNone : found->second;
  }

  // Of equally long ones the first in a, then the first in b. Popular characters are in none.
  Block LongestIn(const Range& range) {
    Block best{range.a_begin, range.b_begin, 0};
    const Positions* before = nullptr;
    for (std::size_t i = range.a_begin; i < range.a_end; ++i) {
      const Positions& here = PositionsOf(a_[i]);
      auto j = std::lower_bound(here.begin(), here.end(), range.b_begin);
      for (; j != here.end() && *j < range.b_end; ++j) {
        const std::size_t size = (*j > 0 ? ended_before_[*j - 1] : 0) + 1;
        ends_here_[*j] = size;
        if (size > best.size) best = {i + 1 - size, *j + 1 - size, size};
      }
      Forget(before);
      std::swap(ends_here_, ended_before_);
      before = &here;
    }
    Forget(before);
    return best;
  }

  // Clears the older of the two rows: it has lengths at these positions only.
  void Forget(const Positions* positions) {
    if (positions == nullptr) return;
    for (const std::size_t j : *positions) ended_before_[j] = 0;
  }

  Block Extended(Block block, const Range& range) const {
    while (block.a > range.a_begin && block.b > range.b_begin &&
           a_[block.a - 1] == b_[block.b - 1]) {
      --block.a;
      --block.b;
      ++block.size;
    }
    while (block.a + block.size < range.a_end && block.b + block.size < range.b_end &&
           a_[block.a + block.size] == b_[block.b + block.size]) {
      ++block.size;
    }
    return block;
  }

  std::u32string_view a_;
  std::u32string_view b_;
  std::unordered_map<char32_t, Positions> positions_;  // in b, ascending
  std::vector<std::size_t> ends_here_;  // [b.size()]: length of the match that ends at a[i], b[j]
  std::vector<std::size_t> ended_before_;  // [b.size()]: at a[i - 1], b[j]
};

std::string_view LineOfCode(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  while (true) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (line.find_first_of("`#") == line.npos && line.find("//") == line.npos) return line;
    if (end == text.npos) return {};
    text.remove_prefix(end + 1);
  }
}

}  // namespace

double SequenceRatio(std::u32string_view a, std::u32string_view b) {
  const std::size_t length = a.size() + b.size();
  if (length == 0) return 1.0;
  return 2.0 * static_cast<double>(Matcher(a, b).CountMatches()) / static_cast<double>(length);
}

double PercentRatio(std::string_view a, std::string_view b) {
  if (a == b) return 1.0;
  if (a.empty() || b.empty()) return 0.0;
  return std::nearbyint(100 * SequenceRatio(DecodeUtf8(a), DecodeUtf8(b))) / 100;
}

double CodeSimilarity(std::string_view prediction, std::string_view answer) {
  return PercentRatio(LineOfCode(prediction), answer);
}

}  // namespace esa
