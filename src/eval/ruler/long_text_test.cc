#include "eval/ruler/long_text.h"

#include <gtest/gtest.h>

namespace esa::ruler {
namespace {

// As many tokens as its context has bytes: `fixed` and a number a unit that may grow.
class CountedText : public LongText {
 public:
  CountedText(std::int64_t fixed, std::int64_t per_unit, std::int64_t growth = 0)
      : fixed_(fixed), per_unit_(per_unit), growth_(growth) {}

  std::int64_t smallest() const override { return 3; }
  std::int64_t largest() const override { return 100'000; }
  Parts Build(std::int64_t size) override {
    ++builds;
    const std::int64_t more = growth_ == 0 ? 0 : size * size / growth_;
    return {.context = std::string(static_cast<std::size_t>(TokensOf(size) + more), 'x'),
            .input = {},
            .answers = {}};
  }
  std::int64_t TokensOf(std::int64_t size) const { return fixed_ + per_unit_ * size; }

  int builds = 0;

 private:
  std::int64_t fixed_;
  std::int64_t per_unit_;
  std::int64_t growth_;
};

std::int64_t BytesOf(const Parts& parts) { return static_cast<std::int64_t>(parts.context.size()); }

TEST(FillTo, FindsTheLargestSizeInAFewTries) {
  for (std::int64_t budget = 100; budget < 200'000; budget = budget * 3 + 1) {
    CountedText text(40, 7);
    const Filled filled = FillTo(budget, BytesOf, &text);
    EXPECT_LE(filled.tokens, budget);
    EXPECT_GT(filled.tokens, budget - 7);
    EXPECT_LE(text.builds, 8) << budget;
  }
}

TEST(FillTo, FindsItWhereLengthIsNoLine) {
  CountedText text(0, 1, 50);
  const Filled filled = FillTo(20'000, BytesOf, &text);
  CountedText fresh(0, 1, 50);
  std::int64_t best = 0;
  for (std::int64_t size = 3; BytesOf(fresh.Build(size)) <= 20'000; ++size) {
    best = BytesOf(fresh.Build(size));
  }
  EXPECT_EQ(filled.tokens, best);
  EXPECT_LE(text.builds, 24);
}

TEST(FillTo, EndsAtTheLargestSize) {
  CountedText text(0, 1);
  EXPECT_EQ(FillTo(1'000'000, BytesOf, &text).tokens, 100'000);
}

TEST(FillTo, GivesTheSmallestWhereNothingFits) {
  CountedText text(40, 7);
  EXPECT_EQ(FillTo(10, BytesOf, &text).tokens, 40 + 3 * 7);
  EXPECT_EQ(FillTo(-5, BytesOf, &text).tokens, 40 + 3 * 7);
}

}  // namespace
}  // namespace esa::ruler
