#include "eval/evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/text_file.h"
#include "eval/cost.h"

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Evaluation : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "esa-eval-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    request_.dataset = *FindDataset("hotpotqa");
    request_.style = *ChoosePromptStyle(request_.dataset, "");
    request_.max_prompt_tokens = 1000;
    request_.out_dir = folder_ + "/out";
    request_.settings = {{"sparse", "dense"}};
    for (int i = 0; i < 4; ++i) {
      records_.push_back({.input = "q" + std::to_string(i),
                          .context = "c{input}",
                          .answers = {"answer " + std::to_string(i)},
                          .all_classes = {},
                          .length = i,
                          .dataset = "hotpotqa",
                          .language = "en",
                          .id = ""});
    }
    // Text as bytes; answers the first three records, cannot answer where `broken_at_` says.
    model_.codec.encode = [](std::string_view text) -> Result<std::vector<std::int32_t>> {
      return std::vector<std::int32_t>(text.begin(), text.end());
    };
    model_.codec.decode = [](const std::vector<std::int32_t>& ids) {
      return std::string(ids.begin(), ids.end());
    };
    model_.answer = [this](const Prompt& prompt, const SamplingParams& params,
                           const ProgressCallback&) -> Result<Completion> {
      prompts_.push_back(prompt);
      params_ = params;
      const auto number = prompt.prompt[prompt.prompt.find("Question: q") + 11] - '0';
      if (number == broken_at_) return IoError("the disk is gone");
      Completion completion;
      completion.text = number < 3 ? "Answer " + std::to_string(number) : "none";
      completion.stats.prompt_tokens = 10 + number;
      completion.stats.generated_tokens = 2;
      completion.stats.prefill_seconds = 0.5;
      return completion;
    };
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Text(const std::string& name) {
    return *ReadWholeFile(request_.out_dir + "/" + name);
  }

  std::string folder_;
  EvaluationRequest request_;
  std::vector<Record> records_;
  EvaluationModel model_;
  std::vector<Prompt> prompts_;
  SamplingParams params_;
  int broken_at_ = -1;
};

TEST_F(Evaluation, WritesPredictionsScoreAndCost) {
  const auto result = Evaluate(request_, records_, model_);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->score, 75.0);
  EXPECT_EQ(result->resumed, 0u);
  EXPECT_EQ(prompts_[1].prompt, "c{input}\n\nQuestion: q1\nAnswer:");
  EXPECT_EQ(params_.temperature, 0.0);
  EXPECT_EQ(params_.max_tokens, 32);
  EXPECT_THAT(Text("hotpotqa.jsonl"),
              HasSubstr("{\"pred\":\"Answer 1\",\"answers\":[\"answer 1\"],\"all_classes\":null,"
                        "\"length\":1}\n"));
  EXPECT_EQ(nlohmann::json::parse(Text("result.json")), (nlohmann::json{{"hotpotqa", 75.0}}));
  const auto cost = nlohmann::json::parse(Text("cost.json")).at("hotpotqa");
  EXPECT_EQ(cost.at("records").size(), 4u);
  EXPECT_EQ(cost.at("mean").at("prompt_tokens"), 11.5);
  EXPECT_EQ(cost.at("mean").at("prefill_tokens_per_second"), 46.0 / 2);
}

TEST_F(Evaluation, ResumesAfterTheLastWholeLine) {
  broken_at_ = 2;
  const auto broken = Evaluate(request_, records_, model_);
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().message, "record 3 of 4: the disk is gone");
  std::ofstream(request_.out_dir + "/hotpotqa.jsonl", std::ios::app) << "{\"pred\": \"hal";
  broken_at_ = -1;
  prompts_.clear();
  const auto result = Evaluate(request_, records_, model_);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->resumed, 2u);
  EXPECT_EQ(prompts_.size(), 2u);
  EXPECT_EQ(result->score, 75.0);
  EXPECT_EQ(result->costs.size(), 4u);
  EXPECT_EQ(result->costs[1].prompt_tokens, 11);
  EXPECT_EQ(result->costs[1].prefill_seconds, 0.5);
}

TEST_F(Evaluation, AFinishedRunIsScoredAgainWithoutTheModel) {
  ASSERT_TRUE(Evaluate(request_, records_, model_).ok());
  prompts_.clear();
  const auto again = Evaluate(request_, records_, model_);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(prompts_.empty());
  EXPECT_EQ(again->score, 75.0);
}

TEST_F(Evaluation, RefusesToMixRuns) {
  ASSERT_TRUE(Evaluate(request_, records_, model_).ok());
  request_.settings["sparse"] = "ESA";
  auto mixed = Evaluate(request_, records_, model_);
  ASSERT_FALSE(mixed.ok());
  EXPECT_THAT(mixed.error().message,
              AllOf(HasSubstr("other settings"), HasSubstr("choose another output folder")));
  request_.settings["sparse"] = "dense";
  records_[1].answers = {"else"};
  mixed = Evaluate(request_, records_, model_);
  ASSERT_FALSE(mixed.ok());
  EXPECT_THAT(mixed.error().message, HasSubstr("of other records (line 2)"));
}

TEST_F(Evaluation, KeepsTheScoresOfOtherDataSets) {
  ASSERT_TRUE(Evaluate(request_, records_, model_).ok());
  request_.dataset = *FindDataset("musique");
  ASSERT_TRUE(Evaluate(request_, records_, model_).ok());
  EXPECT_EQ(nlohmann::json::parse(Text("result.json")).size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(Text("cost.json")).size(), 2u);
}

TEST_F(Evaluation, ChatTemplateOnlyWhereItIsDue) {
  model_.has_chat_template = true;
  EXPECT_EQ(MakePrompt(request_, records_[0], model_)->messages.size(), 1u);
  for (const char* name : {"trec", "triviaqa", "samsum", "lsht", "lcc", "repobench-p", "needle"}) {
    request_.dataset = *FindDataset(name);
    EXPECT_TRUE(MakePrompt(request_, records_[0], model_)->messages.empty()) << name;
  }
}

TEST_F(Evaluation, OnlyAnswersOfOneLineStopAtANewline) {
  for (const Dataset& dataset : LongBenchDatasets()) {
    request_.dataset = dataset;
    request_.dataset.metric = "qa_f1";
    ASSERT_TRUE(Evaluate(request_, records_, model_).ok());
    EXPECT_EQ(params_.stop.empty(), dataset.name != "samsum") << dataset.name;
  }
}

TEST_F(Evaluation, AnAnswerOfOneLineThatBeginsWithANewlineIsMadeAgain) {
  request_.dataset = *FindDataset("samsum");
  records_.resize(1);
  model_.answer = [&](const Prompt&, const SamplingParams& params,
                      const ProgressCallback&) -> Result<Completion> {
    const std::string text = "\nanswer 0\nDialogue: more";
    Completion completion;
    completion.text = params.stop.empty() ? text : text.substr(0, text.find(params.stop[0]));
    completion.finish_reason = "stop";
    return completion;
  };
  const auto result = Evaluate(request_, records_, model_);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_NEAR(result->score, 100.0, 1e-4);
}

TEST_F(Evaluation, RecordsThatCannotBeScoredAreNotAnswered) {
  request_.dataset = *FindDataset("trec");
  for (Record& record : records_) record.all_classes = {"answer 0", "answer 1"};
  records_[2].all_classes.reset();
  const auto result = Evaluate(request_, records_, model_);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message,
            "record 3 of 4: field \"all_classes\": found nothing, expected a list of texts");
  EXPECT_TRUE(prompts_.empty());
}

TEST_F(Evaluation, ClassesOfTheRecordReachTheMetric) {
  request_.dataset = *FindDataset("trec");
  records_.resize(2);
  for (Record& record : records_) record.all_classes = {"answer 0", "answer 1", "Answer 1"};
  records_[1].answers = {"Answer 1"};
  const auto result = Evaluate(request_, records_, model_);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_THAT(result->scores, ElementsAre(0.0, 1.0));
}

TEST_F(Evaluation, LongPromptsKeepBothEnds) {
  request_.max_prompt_tokens = 7;
  EXPECT_EQ(MakePrompt(request_, records_[0], model_)->prompt, "c{ier:");
}

TEST_F(Evaluation, UnwritableFolder) {
  request_.out_dir = "/proc/nothing/out";
  const auto result = Evaluate(request_, records_, model_);
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("/proc/nothing/out: cannot be made"));
}

TEST_F(Evaluation, PromptsOfALongBenchFolder) {
  std::ofstream(folder_ + "/dataset2prompt.json") << R"({"hotpotqa": "{context}|{input}"})";
  std::ofstream(folder_ + "/dataset2maxlen.json") << R"({"hotpotqa": 5})";
  const auto style = ChoosePromptStyle(request_.dataset, folder_);
  ASSERT_TRUE(style.ok()) << style.error().message;
  EXPECT_EQ(FillPrompt(style->prompt_template, records_[0]), "c{input}|q0");
  EXPECT_EQ(style->max_tokens, 5);
  const auto missing = ChoosePromptStyle(*FindDataset("qasper"), folder_);
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().message, HasSubstr("dataset2prompt.json: no entry for"));
  EXPECT_EQ(ChoosePromptStyle(*FindDataset("needle"), folder_)->prompt_template,
            "{context}\n\nQuestion: {input}\nAnswer:");
}

TEST_F(Evaluation, MalformedLinesNameFileLineAndExpectation) {
  const std::string path = folder_ + "/data.jsonl";
  const auto error_of = [&](const std::string& second_line) {
    std::ofstream(path) << R"({"input": "i", "context": "c", "answers": ["a"]})"
                        << "\n\n"
                        << second_line << "\n";
    const auto records = ReadRecords(path);
    return records.ok() ? "" : records.error().message;
  };
  EXPECT_THAT(error_of("{\"input\": "), AllOf(HasSubstr("data.jsonl:3: expected one JSON object"),
                                              HasSubstr("input, context and answers")));
  EXPECT_THAT(error_of("[]"), HasSubstr("data.jsonl:3: found array, expected one JSON object"));
  EXPECT_EQ(error_of(R"({"input": "i", "answers": []})"),
            path + ":3: field \"context\": found nothing, expected a text");
  EXPECT_EQ(error_of(R"({"input": "i", "context": "c", "answers": "a"})"),
            path + ":3: field \"answers\": found string, expected a list of texts");
  EXPECT_EQ(error_of(R"({"input": "i", "context": "c", "answers": ["a"], "length": "x"})"),
            path + ":3: field \"length\": found string, expected a whole number");
  EXPECT_EQ(error_of(R"({"input": "i", "context": "c", "answers": ["a"], "_id": null})"), "");
}

TEST(Cost, RatesAreOfSumsAndPeaksAreLargest) {
  RequestStats first;
  first.prompt_tokens = 100;
  first.restored_tokens = 50;
  first.generated_tokens = 11;
  first.prefill_seconds = 1;
  first.decode_seconds = 2;
  first.peak_resident_bytes = 7;
  first.selected_blocks = 10;
  first.reused_blocks = 5;
  RequestStats second = first;
  second.peak_resident_bytes = 9;
  second.reused_blocks = 0;
  second.sparse = true;
  const RequestStats both[] = {first, second};
  const auto cost = nlohmann::json::parse(CostJson(both));
  EXPECT_EQ(cost.at("peak_resident_bytes"), 9);
  EXPECT_EQ(cost.at("prefill_tokens_per_second"), 50);
  EXPECT_EQ(cost.at("decode_tokens_per_second"), 5);
  EXPECT_EQ(cost.at("reuse"), 0.25);
  EXPECT_EQ(cost.at("sparse"), 0.5);
  EXPECT_THAT(CostText(both), HasSubstr("100 tokens, 50 restored"));
  EXPECT_EQ(nlohmann::json::parse(CostJson({})).at("reuse"), 0);
}

TEST(LongestPromptTest, LeavesRoomForAChatTemplateWhereThereMayBeOne) {
  EXPECT_EQ(LongestPrompt(*FindDataset("needle"), 24, 8192), 8192 - 24);
  EXPECT_LT(LongestPrompt(*FindDataset("hotpotqa"), 32, 8192), 8192 - 32 - 100);
  EXPECT_EQ(LongestPrompt(*FindDataset("hotpotqa"), 32, 64), 1);
}

}  // namespace
}  // namespace esa
