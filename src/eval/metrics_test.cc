#include "eval/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "eval/chinese_segmenter.h"
#include "eval/records.h"
#include "eval/unicode_text.h"

namespace esa {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string SharedData() {
  const char* folder = std::getenv("ESA_TEST_DATA");
  return folder != nullptr ? folder : ESA_SOURCE_DIR "/../shared/data";
}

bool HasJieba() { return std::filesystem::exists(ChineseSegmenter::DefaultFolder() + "/dict.txt"); }

TEST(NormalizeEnglish, LowersAndDropsPunctuationAndArticles) {
  EXPECT_EQ(EncodeUtf8(NormalizeEnglish("  The  Cat, a dog!\tand AN owl. ")), "cat dog and owl");
  EXPECT_EQ(EncodeUtf8(NormalizeEnglish("the-cat theory a.b")), "thecat theory ab");
  EXPECT_EQ(EncodeUtf8(NormalizeEnglish("\u00C9T\u00C9 \u2019a\u2019")),
            "\u00E9t\u00E9 \u2019 \u2019");
}

TEST(QaF1, CountsSharedTokensWithRepetition) {
  EXPECT_DOUBLE_EQ(QaF1("the red red fox", "a red fox"), 2 * (2.0 / 3) * 1 / (2.0 / 3 + 1));
  EXPECT_EQ(QaF1("yes", "no"), 0.0);
  EXPECT_EQ(QaF1("", ""), 0.0);
  EXPECT_EQ(QaF1("The answer.", "answer"), 1.0);
}

TEST(Exact, ComparesNormalisedTexts) {
  EXPECT_EQ(Exact(" Acorn.", "acorn"), 1.0);
  EXPECT_EQ(Exact("acorn tree", "acorn"), 0.0);
}

TEST(Scorer, TakesTheBestAnswerAndTheFirstLine) {
  const auto scorer = Scorer::Create(*FindDataset("triviaqa"));
  ASSERT_TRUE(scorer.ok());
  const std::vector<std::string> answers = {"Berlin", "Paris"};
  EXPECT_EQ(scorer->Score("\n\nParis\nLondon", answers), 1.0);
  EXPECT_EQ(scorer->Score("Rome\nParis", answers), 0.0);
  EXPECT_EQ(scorer->Score("Rome", {}), 0.0);
}

TEST(Scorer, NamesTheMetricThatIsMissing) {
  const auto scorer = Scorer::Create(*FindDataset("gov_report"));
  ASSERT_FALSE(scorer.ok());
  EXPECT_THAT(scorer.error().message, HasSubstr("gov_report: its metric rouge is not available"));
  EXPECT_THAT(scorer.error().message, HasSubstr("narrativeqa, qasper"));
  const auto unknown = FindDataset("narrative");
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(unknown.error().message, HasSubstr("\"narrative\" is not known"));
}

TEST(MeanScore, RoundsAsPythonDoes) {
  EXPECT_EQ(MeanScore(std::vector<double>{1, 0, 0}), 33.33);
  EXPECT_EQ(MeanScore(std::vector<double>{0.00125}), 0.12);
  EXPECT_EQ(MeanScore({}), 0.0);
}

TEST(ChineseSegmenter, SaysWhatIsMissing) {
  const auto segmenter = ChineseSegmenter::Load("/no/such/folder");
  ASSERT_FALSE(segmenter.ok());
  EXPECT_THAT(segmenter.error().message, HasSubstr("python3-jieba"));
  EXPECT_THAT(segmenter.error().message, HasSubstr("ESA_JIEBA_DIR"));
}

TEST(ChineseSegmenter, KnownAndUnknownWords) {
  if (!HasJieba()) GTEST_SKIP() << "no word list in " << ChineseSegmenter::DefaultFolder();
  const auto segmenter = ChineseSegmenter::Load(ChineseSegmenter::DefaultFolder());
  ASSERT_TRUE(segmenter.ok()) << segmenter.error().message;
  const auto cut = [&](std::string_view text) {
    std::vector<std::string> words;
    for (const std::u32string& word : (*segmenter)->Cut(text)) words.push_back(EncodeUtf8(word));
    return words;
  };
  EXPECT_THAT(cut("我来到北京清华大学"), ElementsAre("我", "来到", "北京", "清华大学"));
  EXPECT_THAT(cut("他来到了网易杭研大厦"), ElementsAre("他", "来到", "了", "网易", "杭研", "大厦"));
  EXPECT_THAT(cut("GPT-4得3.5%\r\n 。"),
              ElementsAre("GPT", "-", "4", "得", "3.5%", "\r\n", " ", "。"));
  EXPECT_THAT(cut(""), ElementsAre());
}

// Every record that two published models answered, against the official metric's score of it.
class PublishedScores : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(PublishedScores, AreReproducedRecordByRecord) {
  const auto [model, name] = GetParam();
  const std::string folder = SharedData() + "/longbench/scored/" + model;
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no shared data in " << folder;
  const Dataset dataset = *FindDataset(name);
  if (dataset.metric == "qa_f1_zh" && !HasJieba()) GTEST_SKIP() << "no Chinese word list";
  const auto predictions = ReadPredictions(folder + "/" + name + ".jsonl");
  ASSERT_TRUE(predictions.ok()) << predictions.error().message;
  const auto scorer = Scorer::Create(dataset);
  ASSERT_TRUE(scorer.ok()) << scorer.error().message;
  const auto read_json = [](const std::string& path) {
    std::ifstream file(path);
    return nlohmann::json::parse(file);
  };
  const auto expected =
      read_json(folder + "/per_sample_scores.json").at(name).get<std::vector<double>>();
  ASSERT_EQ(predictions->size(), expected.size());
  std::vector<double> scores;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    scores.push_back(scorer->Score((*predictions)[i].pred, (*predictions)[i].answers));
    EXPECT_NEAR(scores[i], expected[i], 1e-9) << "record " << i << ": " << (*predictions)[i].pred;
  }
  EXPECT_EQ(MeanScore(scores), read_json(folder + "/result.json").at(name).get<double>());
}

INSTANTIATE_TEST_SUITE_P(
    LongBench, PublishedScores,
    ::testing::Combine(::testing::Values("llama2-7b-chat-4k", "llama3-8b-instruct"),
                       ::testing::Values("narrativeqa", "qasper", "multifieldqa_en",
                                         "multifieldqa_zh", "hotpotqa", "2wikimqa", "musique",
                                         "triviaqa")));

}  // namespace
}  // namespace esa
