#include "eval/ruler/long_text.h"

#include <algorithm>
#include <utility>

namespace esa::ruler {
namespace {

// Each try counts the whole text. Lengths are close to linear in the size, so five to eight tries
// are the rule; where they are not, what fits by then is taken.
constexpr int kMostTries = 32;

}  // namespace

Filled FillTo(std::int64_t budget, const std::function<std::int64_t(const Parts&)>& tokens_of,
              LongText* text) {
  const auto make = [&](std::int64_t size) {
    Filled filled{text->Build(size), 0};
    filled.tokens = tokens_of(filled.parts);
    return filled;
  };
  const std::int64_t smallest = text->smallest();
  std::int64_t fits = smallest;
  std::int64_t too_long =
      std::min(text->largest(), smallest + 2 * std::max<std::int64_t>(0, budget)) + 1;
  Filled best = make(smallest);
  const std::int64_t first_tokens = best.tokens;
  double tokens_per_unit = 0;
  for (int i = 0; i < kMostTries && best.tokens < budget && fits + 1 < too_long; ++i) {
    // The first step is as large again, to learn what a unit of size costs.
    const double step = tokens_per_unit > 0
                            ? static_cast<double>(budget - best.tokens) / tokens_per_unit
                            : static_cast<double>(std::max<std::int64_t>(16, smallest));
    const auto limit = too_long - 1 - fits;
    const std::int64_t size =
        fits + (step < static_cast<double>(limit)
                    ? std::max<std::int64_t>(1, static_cast<std::int64_t>(step))
                    : limit);
    Filled next = make(size);
    if (next.tokens > first_tokens) {
      tokens_per_unit =
          static_cast<double>(next.tokens - first_tokens) / static_cast<double>(size - smallest);
    }
    if (next.tokens <= budget) {
      fits = size;
      best = std::move(next);
    } else {
      too_long = size;
    }
  }
  return best;
}

}  // namespace esa::ruler
