#include "eval/ruler/long_text.h"

#include <algorithm>
#include <utility>

namespace esa::ruler {
namespace {

// Each try counts the whole text. Lengths are close to linear in the size, so five to ten tries are
// the rule; where they are not, what fits by then is taken.
constexpr int kMostTries = 48;

// A size and its tokens.
struct Point {
  std::int64_t size = 0;
  std::int64_t tokens = 0;
};

// Narrows down the largest size that fits.
class Search {
 public:
  // `first` is the smallest size, and fits.
  Search(std::int64_t budget, std::int64_t largest, Point first)
      : budget_(budget), first_(first), fits_(first), too_large_{largest + 1, 0} {}

  bool done() const { return fits_.tokens == budget_ || fits_.size + 1 >= too_large_.size; }

  // Between the two ends, where a straight line through what is known meets the budget.
  std::int64_t Next() const {
    const std::int64_t most = too_large_.size - 1 - fits_.size;
    const auto missing = static_cast<double>(budget_ - fits_.tokens);
    double step = 0;
    if (same_side_ > 1 && too_large_.tokens > 0) {
      step = static_cast<double>(most) / 2;
    } else if (too_large_.tokens > 0) {
      step = missing / Slope(fits_, too_large_);
    } else if (fits_.tokens > first_.tokens) {
      step = missing / Slope(first_, fits_);
    } else {
      // As large again, to learn what a unit of size costs.
      step = static_cast<double>(std::max<std::int64_t>(16, fits_.size));
    }
    if (step >= static_cast<double>(most)) return fits_.size + most;
    return fits_.size + std::max<std::int64_t>(1, static_cast<std::int64_t>(step));
  }

  // Whether the point fits.
  bool Learn(Point point) {
    const bool fits = point.tokens <= budget_;
    same_side_ = fits == last_fits_ ? same_side_ + 1 : 1;
    last_fits_ = fits;
    if (fits) {
      fits_ = point;
    } else {
      too_large_ = point;
    }
    return fits;
  }

 private:
  static double Slope(Point from, Point to) {
    return static_cast<double>(to.tokens - from.tokens) / static_cast<double>(to.size - from.size);
  }

  std::int64_t budget_;
  Point first_;
  Point fits_;
  Point too_large_;  // without tokens where it was not tried
  // How often in a row the same end moved: a line that misses twice is not straight, and halving
  // is surer.
  int same_side_ = 0;
  bool last_fits_ = true;
};

}  // namespace

Filled FillTo(std::int64_t budget, const std::function<std::int64_t(const Parts&)>& tokens_of,
              LongText* text) {
  const auto make = [&](std::int64_t size) {
    Filled filled{text->Build(size), 0};
    filled.tokens = tokens_of(filled.parts);
    return filled;
  };
  const std::int64_t smallest = text->smallest();
  Filled best = make(smallest);
  if (best.tokens > budget) return best;
  const std::int64_t largest = std::min(text->largest(), smallest + 2 * budget);
  Search search(budget, largest, {smallest, best.tokens});
  for (int i = 0; i < kMostTries && !search.done(); ++i) {
    const std::int64_t size = search.Next();
    Filled next = make(size);
    if (search.Learn({size, next.tokens})) best = std::move(next);
  }
  return best;
}

}  // namespace esa::ruler
