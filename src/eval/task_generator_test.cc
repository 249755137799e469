#include "eval/task_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "eval/prompt_template.h"

namespace esa {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kTasks = R"({
  "lists": {"names": ["Ada", "Bo", "Cy", "Di", "Ed"], "words": ["acorn", "amber"],
            "kinds": ["key", "sign"], "codes": ["pin", "tag"]},
  "filler": ["The {words} and the {words} wait.", "Nothing happens."],
  "fact": {"template": "The {attribute} of {name} is {value}.",
           "kinds": [{"attribute": "{kinds}", "value": "{words}"},
                     {"attribute": "{codes}", "value": "{digits4}"}]},
  "question": "What is the {attribute} of {name}?",
  "tasks": {"needle": {"facts": 1, "same_attribute": 0, "same_name": 0},
            "multikey": {"facts": 5, "same_attribute": 2, "same_name": 1},
            "kv_recall": {"fact_share": 0.5}}})";

std::int64_t CountWords(std::string_view text) {
  std::int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n';
    words += !space && !inside ? 1 : 0;
    inside = !space;
  }
  return words;
}

std::int64_t Occurrences(const std::string& text, const std::string& part) {
  std::int64_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

class GeneratedTask : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "esa-tasks-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Result<TaskGenerator> Load(const std::string& text) {
    std::ofstream(folder_ + "/tasks.json") << text;
    return TaskGenerator::Load(folder_ + "/tasks.json");
  }
  std::string ErrorOf(const std::string& text) {
    const auto generator = Load(text);
    return generator.ok() ? "" : generator.error().message;
  }

  std::string folder_;
};

TEST_F(GeneratedTask, FillsTheBudgetAndAsksForItsFact) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok()) << generator.error().message;
  const std::vector<std::string> tasks = generator->Tasks();
  EXPECT_EQ(tasks.size(), 6 + TaskGenerator::RulerTaskNames().size());
  EXPECT_THAT(std::vector<std::string>(tasks.begin(), tasks.begin() + 6),
              ElementsAre("kv_recall", "kv_recall_sentence", "multikey", "multikey_sentence",
                          "needle", "needle_sentence"));
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto record = generator->Generate(
        {.task = "needle", .tokens = 200, .depth = 0.5, .seed = seed}, CountWords);
    ASSERT_TRUE(record.ok()) << record.error().message;
    const std::string prompt = FillPrompt(FindDataset("needle")->prompt_template, *record);
    EXPECT_LE(CountWords(prompt), 200);
    EXPECT_GE(CountWords(prompt), 200 - 8);
    EXPECT_EQ(Occurrences(record->context, " of "), 1);
    ASSERT_THAT(record->input, StartsWith("What is the "));
    const std::string asked = record->input.substr(12, record->input.size() - 13);
    EXPECT_THAT(record->context, HasSubstr("The " + asked + " is " + record->answers[0] + "."));
  }
}

TEST_F(GeneratedTask, InASentenceTheWholeFactIsTheAnswer) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok());
  const auto record = generator->Generate(
      {.task = "multikey_sentence", .tokens = 200, .depth = 0.5, .seed = 2}, CountWords);
  ASSERT_TRUE(record.ok()) << record.error().message;
  EXPECT_EQ(record->dataset, "multikey_sentence");
  ASSERT_THAT(record->input, StartsWith("What is the "));
  const std::string asked = record->input.substr(12, record->input.size() - 13);
  EXPECT_THAT(record->answers, ElementsAre(StartsWith("The " + asked + " is ")));
  EXPECT_THAT(record->context, HasSubstr(record->answers[0]));
}

TEST_F(GeneratedTask, EqualRequestsGiveEqualRecords) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok());
  const TaskRequest request{.task = "multikey", .tokens = 100, .depth = 0.3, .seed = 7, .index = 2};
  const auto first = generator->Generate(request, CountWords);
  EXPECT_EQ(ToJsonLine(*first), ToJsonLine(*generator->Generate(request, CountWords)));
  TaskRequest other = request;
  other.index = 3;
  EXPECT_NE(ToJsonLine(*first), ToJsonLine(*generator->Generate(other, CountWords)));
}

// The numbers behind a record are part of its definition: they must not change between platforms.
TEST_F(GeneratedTask, IsTheSameEverywhere) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok());
  const auto record = generator->Generate(
      {.task = "needle", .tokens = 30, .depth = 0, .seed = 1, .index = 0}, CountWords);
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->context + "|" + record->input,
            "The key of Ed is amber. The amber and the amber wait. Nothing happens. "
            "The amber and the amber wait.|What is the key of Ed?");
}

TEST_F(GeneratedTask, DepthMovesTheFactThroughTheSameText) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok());
  const auto place = [&](double depth) {
    const auto record = generator->Generate(
        {.task = "needle", .tokens = 300, .depth = depth, .seed = 3}, CountWords);
    return static_cast<double>(record->context.find(" of ")) /
           static_cast<double>(record->context.size());
  };
  EXPECT_LT(place(0), 0.05);
  EXPECT_NEAR(place(0.5), 0.5, 0.1);
  EXPECT_GT(place(1), 0.95);
}

TEST_F(GeneratedTask, OtherFactsResembleTheAskedOneButNeverNameIt) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok());
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto record =
        generator->Generate({.task = "multikey", .tokens = 150, .seed = seed}, CountWords);
    ASSERT_TRUE(record.ok());
    EXPECT_EQ(Occurrences(record->context, " of "), 5);
    const std::string asked = record->input.substr(12, record->input.size() - 13);
    EXPECT_EQ(Occurrences(record->context, "The " + asked + " is"), 1);
    EXPECT_GE(Occurrences(record->context, asked.substr(0, asked.find(' ')) + " of "), 3);
  }
  const auto recall =
      generator->Generate({.task = "kv_recall", .tokens = 100, .seed = 1}, CountWords);
  ASSERT_TRUE(recall.ok());
  EXPECT_GE(Occurrences(recall->context, " of "), 6);
}

TEST_F(GeneratedTask, RulersProseIsTheModelsFiller) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok());
  const auto record =
      generator->Generate({.task = "niah_single_2", .tokens = 600, .seed = 2}, CountWords);
  ASSERT_TRUE(record.ok()) << record.error().message;
  EXPECT_GT(Occurrences(record->context, "Nothing happens."), 20);
  EXPECT_GT(Occurrences(record->context, " and the "), 20);
  EXPECT_EQ(Occurrences(record->context, " stood near "), 0);
}

TEST_F(GeneratedTask, RecordsKeepDepthAndTokensInAFile) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok());
  const auto record =
      generator->Generate({.task = "needle", .tokens = 100, .depth = 0.25, .seed = 2}, CountWords);
  ASSERT_TRUE(record.ok());
  const std::string path = folder_ + "/records.jsonl";
  std::ofstream(path) << ToJsonLine(*record) << "\n"
                      << R"({"input": "i", "context": "c", "answers": []})"
                      << "\n";
  const auto records = ReadRecords(path);
  ASSERT_TRUE(records.ok()) << records.error().message;
  EXPECT_EQ((*records)[0].depth, 0.25);
  EXPECT_EQ((*records)[0].tokens, 100);
  EXPECT_FALSE((*records)[1].depth || (*records)[1].tokens);
  EXPECT_EQ(ToJsonLine((*records)[1]).find("depth"), std::string::npos);
  std::ofstream(path) << R"({"input": "i", "context": "c", "answers": [], "depth": "deep"})";
  EXPECT_THAT(ReadRecords(path).error().message,
              HasSubstr("field \"depth\": found string, expected a number"));
}

TEST_F(GeneratedTask, ManyRecordsSpreadTheirDepths) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok());
  const auto records =
      generator->GenerateMany({.task = "needle", .tokens = 200, .seed = 5}, 4, CountWords);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 4u);
  std::vector<std::size_t> places;
  for (const Record& record : *records) places.push_back(record.context.find(" of "));
  EXPECT_TRUE(std::is_sorted(places.begin(), places.end()));
  EXPECT_EQ((*records)[3].id, "needle-200-5-3");
}

TEST(ShippedTasks, AreReadAndAskedAsTheModelWasTrained) {
  const std::string path = ESA_SOURCE_DIR "/models/esa-needle/tasks.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto generator = TaskGenerator::Load(path);
  ASSERT_TRUE(generator.ok()) << generator.error().message;
  std::ifstream file(path);
  const nlohmann::json forms = nlohmann::json::parse(file).at("forms");
  for (const std::string& task : generator->Tasks()) {
    if (TaskGenerator::IsRulerTask(task)) continue;
    const auto dataset = FindDataset(task);
    ASSERT_TRUE(dataset.ok()) << dataset.error().message;
    std::string form = forms.at(task.ends_with("_sentence") ? "sentence" : "short").at("prompt");
    form.replace(form.find("{question}"), 10, "{input}");
    EXPECT_EQ(dataset->prompt_template, form);
    const auto record = generator->Generate({.task = task, .tokens = 400, .seed = 1}, CountWords);
    EXPECT_TRUE(record.ok()) << record.error().message;
  }
}

TEST_F(GeneratedTask, MistakesAreNamed) {
  const auto generator = Load(kTasks);
  ASSERT_TRUE(generator.ok());
  const auto unknown = generator->Generate({.task = "noodle", .tokens = 100}, CountWords);
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(unknown.error().message,
              StartsWith("task \"noodle\" is not known; known are: kv_recall, kv_recall_sentence, "
                         "multikey, multikey_sentence, needle, needle_sentence, niah_single_1, "));
  const auto small = generator->Generate({.task = "needle", .tokens = 5}, CountWords);
  ASSERT_FALSE(small.ok());
  EXPECT_THAT(small.error().message, HasSubstr("5 tokens are too few; its fact and question need"));
  EXPECT_THAT(ErrorOf("{"), HasSubstr("tasks.json: parse error"));
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("key 'lists' not found"));
  std::string hole = kTasks;
  hole.replace(hole.find("{words} wait"), 7, "{worms}");
  EXPECT_THAT(ErrorOf(hole), HasSubstr("\"worms\" is used but not there or empty"));
}

}  // namespace
}  // namespace esa
