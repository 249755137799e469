#include "eval/ruler/string_match.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "eval/metrics.h"

namespace esa::ruler {
namespace {

double ScoreOf(const char* dataset, std::string_view prediction,
               const std::vector<std::string>& answers) {
  const auto scorer = Scorer::Create(*FindDataset(dataset));
  EXPECT_TRUE(scorer.ok());
  const auto score = scorer->Score(
      {.pred = std::string(prediction), .answers = answers, .all_classes = {}, .length = 0});
  EXPECT_TRUE(score.ok());
  return *score;
}

TEST(StringMatch, LooksForTheReferenceInLowerCase) {
  EXPECT_EQ(StringMatch(" It is 1234567.", "1234567"), 1.0);
  EXPECT_EQ(StringMatch("\u00C9T\u00C9 chaud", "\u00E9t\u00E9 CH"), 1.0);
  EXPECT_EQ(StringMatch("123456", "1234567"), 0.0);
  EXPECT_EQ(StringMatch("", "a"), 0.0);
}

TEST(StringMatch, AllIsThePartOfTheReferencesThatIsFound) {
  EXPECT_EQ(ScoreOf("vt", "AAA, bbb", {"AAA", "BBB", "CCC", "DDD"}), 0.5);
  EXPECT_EQ(ScoreOf("niah_single_1", "none", {"1234567"}), 0.0);
  EXPECT_EQ(ScoreOf("cwe", "1. river\n2. oak", {"oak", "river"}), 1.0);
  EXPECT_EQ(ScoreOf("cwe", "river", {}), 0.0);
}

TEST(StringMatch, PartIsWhetherOneIsFound) {
  EXPECT_EQ(ScoreOf("qa_1", "In Paris.", {"Lyon", "paris"}), 1.0);
  EXPECT_EQ(ScoreOf("qa_2", "In Rome.", {"Lyon", "paris"}), 0.0);
}

TEST(StringMatch, OtherMetricsStillTakeTheBestAnswer) {
  EXPECT_EQ(ScoreOf("needle", "b", {"a", "b"}), 1.0);
}

}  // namespace
}  // namespace esa::ruler
