// LongBench as published: predictions of two models for all 21 data sets with their scores, and the
// official prompts. The data is not in the repository: tests skip where ESA_TEST_DATA has none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/chinese_segmenter.h"
#include "eval/metrics.h"
#include "eval/prompt_template.h"
#include "eval/testing/word_lists.h"

namespace esa {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::filesystem::path LongBench() {
  const char* folder = std::getenv("ESA_TEST_DATA");
  return std::filesystem::path(folder != nullptr ? folder : ESA_SOURCE_DIR "/../shared/data") /
         "longbench";
}

nlohmann::json ReadJson(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

bool IsChinese(const Dataset& dataset) {
  return dataset.metric == "qa_f1_zh" || dataset.metric == "rouge_zh";
}

// The real word list but for the words with Latin letters or digits that follow its first seven.
// The scores of single records were computed with such a list, those of whole data sets were not.
class ShortWordList {
 public:
  ShortWordList() {
    std::string name = (std::filesystem::temp_directory_path() / "esa-words-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    const std::filesystem::path real = ChineseSegmenter::DefaultFolder();
    std::ifstream all(real / "dict.txt");
    std::ofstream kept(folder_ / "dict.txt");
    std::string line;
    for (int number = 0; std::getline(all, line); ++number) {
      in_new_words_ = in_new_words_ && !line.starts_with("一 ");
      const bool is_new = number >= 7 && in_new_words_ && !line.starts_with("B超 ");
      if (!is_new) kept << line << '\n';
    }
    std::filesystem::create_symlink(real / "finalseg", folder_ / "finalseg");
  }
  ~ShortWordList() { std::filesystem::remove_all(folder_); }

  std::shared_ptr<const ChineseSegmenter> Load() const {
    auto segmenter = ChineseSegmenter::Load(folder_);
    return segmenter.ok() ? std::move(*segmenter) : nullptr;
  }

 private:
  std::filesystem::path folder_;
  bool in_new_words_ = true;
};

class PublishedScores : public ::testing::TestWithParam<std::tuple<const char*, Dataset>> {
 protected:
  void SetUp() override {
    folder_ = LongBench() / "scored" / std::get<0>(GetParam());
    dataset_ = std::get<1>(GetParam());
    name_ = dataset_.name;
    if (!std::filesystem::exists(folder_)) GTEST_SKIP() << "no shared data in " << folder_;
    if (IsChinese(dataset_) && !HasJieba()) {
      GTEST_SKIP() << "no word list in " << ChineseSegmenter::DefaultFolder();
    }
    auto predictions = ReadPredictions((folder_ / (name_ + ".jsonl")).string());
    ASSERT_TRUE(predictions.ok()) << predictions.error().message;
    predictions_ = std::move(*predictions);
  }

  std::vector<double> Scores(const Scorer& scorer) const {
    std::vector<double> scores;
    for (const Prediction& prediction : predictions_) {
      scores.push_back(scorer.Score(prediction).value());
    }
    return scores;
  }

  std::vector<double> OfRecords() const {
    return ReadJson(folder_ / "per_sample_scores.json").at(name_).get<std::vector<double>>();
  }

  std::filesystem::path folder_;
  Dataset dataset_;
  std::string name_;
  std::vector<Prediction> predictions_;
};

// How many of the scores are not the published ones of single records.
int CountOthers(const std::vector<double>& scores, const std::vector<double>& published) {
  int others = 0;
  for (std::size_t i = 0; i < published.size(); ++i) {
    if (std::abs(scores[i] - published[i]) > 1e-9) ++others;
  }
  return others;
}

TEST_P(PublishedScores, AreReproduced) {
  const auto scorer = Scorer::Create(dataset_);
  ASSERT_TRUE(scorer.ok()) << scorer.error().message;
  const std::vector<double> scores = Scores(*scorer);
  EXPECT_EQ(MeanScore(scores), ReadJson(folder_ / "result.json").at(name_).get<double>());
  const std::vector<double> published = OfRecords();
  ASSERT_EQ(scores.size(), published.size());
  EXPECT_LE(CountOthers(scores, published), dataset_.metric == "rouge_zh" ? 4 : 0);
}

std::string TestName(const ::testing::TestParamInfo<PublishedScores::ParamType>& test) {
  std::string name = std::get<0>(test.param);
  name += "_";
  name += std::get<1>(test.param).name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

constexpr const char* kModels[] = {"llama2-7b-chat-4k", "llama3-8b-instruct"};

INSTANTIATE_TEST_SUITE_P(LongBench, PublishedScores,
                         ::testing::Combine(::testing::ValuesIn(kModels),
                                            ::testing::ValuesIn(LongBenchDatasets().begin(),
                                                                LongBenchDatasets().end())),
                         TestName);

class PublishedChineseScores : public PublishedScores {};

TEST_P(PublishedChineseScores, AreReproducedRecordByRecord) {
  const auto scorer = Scorer::Create(dataset_, ShortWordList().Load());
  ASSERT_TRUE(scorer.ok()) << scorer.error().message;
  const std::vector<double> published = OfRecords();
  ASSERT_EQ(predictions_.size(), published.size());
  EXPECT_EQ(CountOthers(Scores(*scorer), published), 0);
}

INSTANTIATE_TEST_SUITE_P(LongBench, PublishedChineseScores,
                         ::testing::Combine(::testing::ValuesIn(kModels),
                                            ::testing::Values(*FindDataset("dureader"),
                                                              *FindDataset("vcsum"))),
                         TestName);

TEST(LongBenchConfig, HasAPromptAndALengthForEveryDataSet) {
  const std::string folder = (LongBench() / "config").string();
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no shared data in " << folder;
  const nlohmann::json lengths = ReadJson(folder + "/dataset2maxlen.json");
  const Record record{.input = "INPUT",
                      .context = "CONTEXT",
                      .answers = {},
                      .all_classes = {},
                      .dataset = "",
                      .language = "",
                      .id = ""};
  for (const Dataset& dataset : LongBenchDatasets()) {
    const auto style = ChoosePromptStyle(dataset, folder);
    ASSERT_TRUE(style.ok()) << style.error().message;
    EXPECT_EQ(style->max_tokens, lengths.at(std::string(dataset.name)).get<int>());
    EXPECT_NE(style->prompt_template, dataset.prompt_template) << dataset.name;
    const std::string prompt = FillPrompt(style->prompt_template, record);
    EXPECT_THAT(prompt, HasSubstr("CONTEXT")) << dataset.name;
    EXPECT_EQ(prompt.find_first_of("{}"), prompt.npos) << dataset.name;
  }
  const auto trec = ChoosePromptStyle(*FindDataset("trec"), folder);
  EXPECT_THAT(FillPrompt(trec->prompt_template, record),
              AllOf(StartsWith("Please determine the type"), EndsWith("\n\nCONTEXT\nINPUT")));
}

}  // namespace
}  // namespace esa
