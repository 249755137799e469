#include "eval/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <vector>

#include "eval/chinese_segmenter.h"
#include "eval/metrics/code_similarity.h"
#include "eval/metrics/label_match.h"
#include "eval/metrics/rouge.h"
#include "eval/metrics/token_f1.h"
#include "eval/testing/word_lists.h"
#include "eval/unicode_text.h"

namespace esa {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The package's own way to avoid dividing by nothing makes 1 a little less.
double HarmonicMean(double precision, double recall) {
  return 2.0 * ((precision * recall) / (precision + recall + 1e-8));
}

Prediction Said(std::string pred, std::vector<std::string> answers,
                std::optional<std::vector<std::string>> all_classes = {}) {
  return {.pred = std::move(pred),
          .answers = std::move(answers),
          .all_classes = std::move(all_classes),
          .length = 0};
}

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

TEST(Rouge, UnitesWhatSentencesShare) {
  // {the, cat} of the first sentence, {ran} of the second: 3 of 3 and 3 of 6 words.
  EXPECT_DOUBLE_EQ(Rouge("the cat sat. a dog ran", "the cat ran"), HarmonicMean(0.5, 1));
  EXPECT_DOUBLE_EQ(Rouge("the cat ran", "the cat ran."), HarmonicMean(1, 1));
  EXPECT_EQ(Rouge("owl", "cat"), 0.0);
}

TEST(Rouge, CountsDifferentWords) {
  EXPECT_DOUBLE_EQ(Rouge("a a a a", "a"), HarmonicMean(1, 1));
  EXPECT_DOUBLE_EQ(Rouge("a a b", "a c\u3000a\n"), HarmonicMean(0.5, 0.5));
}

TEST(Rouge, OfEqualSubsequencesTakesTheOneThatEndsLaterInTheAnswer) {
  // "a b" and "b a" share either a or b: it is b, which the second sentence shares too.
  EXPECT_DOUBLE_EQ(Rouge("b a", "a b.b"), HarmonicMean(0.5, 0.5));
  EXPECT_DOUBLE_EQ(Rouge("b a", "a b.a"), HarmonicMean(1, 1));
}

TEST(Rouge, EmptySentences) {
  EXPECT_EQ(Rouge("", "a"), 0.0);
  EXPECT_EQ(Rouge("a", ""), 0.0);
  EXPECT_EQ(Rouge("...", "a"), 0.0);
  EXPECT_DOUBLE_EQ(Rouge("a..", "a"), HarmonicMean(1, 1));
  // Space between full stops is a sentence of one empty word.
  EXPECT_DOUBLE_EQ(Rouge("a. ", "a"), HarmonicMean(0.5, 1));
}

TEST(CodeSimilarity, ScoresTheFirstLineOfCode) {
  EXPECT_EQ(CodeSimilarity("\n\n# note\n```py\n// also\nx = 1\ny = 2", "x = 1"), 1.0);
  EXPECT_EQ(CodeSimilarity("# x = 1", "x = 1"), 0.0);
  EXPECT_EQ(CodeSimilarity("x = 1\n\n", "y = 2\n"), 0.55);  // " = " of 5 and 6: 6 / 11
  EXPECT_EQ(CodeSimilarity("# nothing", ""), 1.0);
}

TEST(PercentRatio, RoundsHalvesToTheEvenPercent) {
  EXPECT_EQ(PercentRatio("x", "xabcdefghijklmn"), 0.12);    // 12.5
  EXPECT_EQ(PercentRatio("xyz", "xyzabcdefghij"), 0.38);    // 37.5
  EXPECT_EQ(PercentRatio("\u4E2D\u6587", "\u4E2D"), 0.67);  // characters, not bytes
}

TEST(SequenceRatio, MatchesTheLongestBlockFirst) {
  EXPECT_EQ(SequenceRatio(U"abcd", U"bcde"), 0.75);
  EXPECT_EQ(SequenceRatio(U"tide", U"diet"), 0.25);
  EXPECT_EQ(SequenceRatio(U"diet", U"tide"), 0.5);
  EXPECT_EQ(SequenceRatio(U"", U""), 1.0);
  EXPECT_EQ(SequenceRatio(U"", U"a"), 0.0);
}

TEST(SequenceRatio, FrequentCharactersOfLongTextsBeginNoMatch) {
  const std::u32string a = U"b" + std::u32string(199, U'a');
  EXPECT_EQ(SequenceRatio(a, std::u32string(199, U'a')), 2.0 * 199 / 399);
  EXPECT_EQ(SequenceRatio(a, std::u32string(200, U'a')), 0.0);
  // But they prolong one, here of the b.
  EXPECT_EQ(SequenceRatio(a, U"b" + std::u32string(199, U'a')), 1.0);
}

TEST(CountMatch, IsThePartOfRightNumbers) {
  EXPECT_EQ(CountMatch("There are 3, or 4.", "3"), 0.5);
  EXPECT_EQ(CountMatch("33", "3"), 0.0);
  EXPECT_EQ(CountMatch("03 3", "3"), 0.5);
  EXPECT_EQ(CountMatch("none", "3"), 0.0);
  EXPECT_EQ(CountMatch("3 \u0663", "3"), 0.5);  // an Arabic three is a number, but not that one
}

TEST(RetrievalMatch, ReadsTheNumberBehindTheLabel) {
  EXPECT_EQ(*RetrievalMatch("12 or 5", "Paragraph 12", "Paragraph "), 0.5);
  EXPECT_EQ(*RetrievalMatch("段落7", "段落7", "段落"), 1.0);
  EXPECT_EQ(*RetrievalMatch("7", "Paragraph x, Paragraph 7", "Paragraph "), 1.0);
  const auto missing = RetrievalMatch("7", "7", "Paragraph ");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().message, "answer \"7\": expected \"Paragraph \" and a number in it");
}

TEST(ClassificationMatch, SharesThePointAmongNamedClasses) {
  const std::vector<std::string> classes = {"Food", "Date", "Other entity"};
  EXPECT_EQ(ClassificationMatch("Food", "Food", classes), 1.0);
  EXPECT_EQ(ClassificationMatch("Food or Date", "Food", classes), 0.5);
  EXPECT_EQ(ClassificationMatch("Date", "Food", classes), 0.0);
  EXPECT_EQ(ClassificationMatch("food", "Food", classes), 0.0);
}

TEST(ClassificationMatch, StrikesOutPartsOfTheAnswer) {
  EXPECT_EQ(ClassificationMatch("abc", "abc", std::vector<std::string>{"ab", "abc"}), 1.0);
  // "ab" moves up into the place of "a" and is overlooked.
  EXPECT_EQ(ClassificationMatch("abc", "abc", std::vector<std::string>{"a", "ab", "abc"}), 0.5);
}

TEST(Scorer, TakesTheBestAnswerAndTheFirstLine) {
  const auto scorer = Scorer::Create(*FindDataset("triviaqa"));
  ASSERT_TRUE(scorer.ok());
  const std::vector<std::string> answers = {"Berlin", "Paris"};
  EXPECT_EQ(*scorer->Score(Said("\n\nParis\nLondon", answers)), 1.0);
  EXPECT_EQ(*scorer->Score(Said("Rome\nParis", answers)), 0.0);
  EXPECT_EQ(*scorer->Score(Said("Rome", {})), 0.0);
}

TEST(Scorer, OfFourDataSetsOnlyTheFirstLine) {
  std::vector<std::string_view> first_line;
  for (const Dataset& dataset : Datasets()) {
    if (dataset.first_line_only) first_line.push_back(dataset.name);
  }
  EXPECT_THAT(first_line, ElementsAre("trec", "triviaqa", "samsum", "lsht"));
}

TEST(Scorer, ClassesMustBeThere) {
  const auto scorer = Scorer::Create(*FindDataset("trec"));
  ASSERT_TRUE(scorer.ok());
  EXPECT_EQ(*scorer->Score(Said("Date\nFood", {"Date"}, {{"Food", "Date"}})), 1.0);
  const auto missing = scorer->Score(Said("Date", {"Date"}));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().message,
            "field \"all_classes\": found nothing, expected a list of texts");
}

TEST(Scorer, NamesTheMetricThatIsMissing) {
  const auto scorer = Scorer::Create({"riddles", "wit", "{context}", 8});
  ASSERT_FALSE(scorer.ok());
  EXPECT_EQ(scorer.error().message, "dataset riddles: its metric \"wit\" is not available");
  const auto unknown = FindDataset("narrative");
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(unknown.error().message, HasSubstr("\"narrative\" is not known"));
}

TEST(Scorer, EveryDataSetHasAMetric) {
  EXPECT_EQ(LongBenchDatasets().size(), 21u);
  EXPECT_EQ(LongBenchDatasets().back().name, "repobench-p");
  for (const Dataset& dataset : Datasets()) {
    if (dataset.metric.ends_with("_f1_zh") || dataset.metric == "rouge_zh") continue;
    EXPECT_TRUE(Scorer::Create(dataset).ok()) << dataset.name;
  }
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

class SmallWordList : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "esa-words-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    WriteWordLists(folder_, "北京 300 ns\n大学 200 n\n北京大学 100 nt\nA股 30 n\n");
    auto loaded = ChineseSegmenter::Load(folder_);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    segmenter_ = std::move(*loaded);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<std::string> Cut(std::string_view text) const {
    std::vector<std::string> words;
    for (const std::u32string& word : segmenter_->Cut(text)) words.push_back(EncodeUtf8(word));
    return words;
  }

  std::string folder_;
  std::shared_ptr<const ChineseSegmenter> segmenter_;
};

TEST_F(SmallWordList, CutsTheMostProbableWords) {
  EXPECT_THAT(Cut("北京大学，北京的大学"), ElementsAre("北京大学", "，", "北京", "的", "大学"));
  EXPECT_THAT(Cut("A股 b"), ElementsAre("A股", " ", "b"));
}

TEST_F(SmallWordList, ScoresOfChineseTexts) {
  // 北京 | 的 | 大学 beside 北京 | 大学: 2 of 3 and 2 of 2.
  const double f1 = 2 * (2.0 / 3) / (2.0 / 3 + 1);
  EXPECT_DOUBLE_EQ(QaF1Chinese("北京的大学。", "北京 大学", *segmenter_), f1);
  EXPECT_DOUBLE_EQ(RougeChinese("北京的大学", "北京 大学", *segmenter_), HarmonicMean(2.0 / 3, 1));
  // The Chinese full stop is a word, and ends no sentence.
  EXPECT_DOUBLE_EQ(RougeChinese("北京。", "大学。", *segmenter_), HarmonicMean(0.5, 0.5));
  EXPECT_EQ(RougeChinese("", "大学", *segmenter_), 0.0);
  const auto scorer = Scorer::Create(*FindDataset("vcsum"), segmenter_);
  ASSERT_TRUE(scorer.ok()) << scorer.error().message;
  EXPECT_DOUBLE_EQ(*scorer->Score(Said("大学", {"北京", "大学"})), HarmonicMean(1, 1));
  EXPECT_EQ(scorer->segmenter(), segmenter_);
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
  EXPECT_THAT(cut("查看IP地址和A股"), ElementsAre("查看", "IP地址", "和", "A股"));
  EXPECT_THAT(cut(""), ElementsAre());
}

}  // namespace
}  // namespace esa
