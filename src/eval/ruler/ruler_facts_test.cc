// Against RULER's own files, where they are at hand: templates, parameters and real samples.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "eval/ruler/testing/tokens.h"
#include "eval/task_generator.h"

namespace esa::ruler {
namespace {

std::string RulerFolder() {
  const char* folder = std::getenv("ESA_TEST_DATA");
  return std::string(folder != nullptr ? folder : ESA_SOURCE_DIR "/../shared/data") + "/ruler";
}

void ReplaceAll(std::string* text, const std::string& from, const std::string& to) {
  for (auto at = text->find(from); at != std::string::npos; at = text->find(from, at + to.size())) {
    text->replace(at, from.size(), to);
  }
}

// RULER's rule for a single answer.
std::string Singular(std::string text) {
  ReplaceAll(&text, "Some", "A");
  ReplaceAll(&text, "are all", "is");
  ReplaceAll(&text, "are", "is");
  return text;
}

class RulerFacts : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = RulerFolder() + "/ruler_facts.json";
    if (!std::filesystem::exists(path)) {
      GTEST_SKIP() << "no " << path << "; set ESA_TEST_DATA to the folder of test data";
    }
    std::ifstream file(path);
    facts_ = nlohmann::json::parse(file).at("tasks");
  }

  Record Make(const std::string& task, std::uint64_t index = 0) {
    const auto generator = TaskGenerator::Open({});
    const auto record =
        generator->Generate({.task = task, .tokens = 4096, .index = index}, CountPieces);
    EXPECT_TRUE(record.ok()) << record.error().message;
    return *record;
  }

  // The template with the answer's beginning, its slots filled.
  std::string Expected(const std::string& family, const std::string& context, bool singular,
                       const std::map<std::string, std::string>& slots) {
    std::string text = facts_.at(family).at("template").get<std::string>() +
                       facts_.at(family).at("answer_prefix").get<std::string>();
    if (singular) text = Singular(text);
    for (const auto& [slot, value] : slots) ReplaceAll(&text, "{" + slot + "}", value);
    ReplaceAll(&text, "{context}", context);
    return text;
  }

  nlohmann::json facts_;
};

// From the first `after` to the last `before`.
std::string Between(const std::string& text, const std::string& after, const std::string& before) {
  const auto begin = text.find(after) + after.size();
  return text.substr(begin, text.rfind(before) - begin);
}

TEST_F(RulerFacts, NeedlePromptsAreRulers) {
  for (const std::string& task : TaskGenerator::RulerTaskNames()) {
    if (!task.starts_with("niah_")) continue;
    const Record record = Make(task);
    const std::string prompt = PromptOf(record);
    const bool singular = record.answers.size() == 1;
    std::smatch match;
    ASSERT_TRUE(std::regex_search(record.input, match,
                                  std::regex("special magic (\\w+) for (.*) mentioned in the "
                                             "provided text\\?")));
    const std::string context = Between(prompt, "afterwards.\n", "\nWhat ");
    EXPECT_EQ(prompt, Expected("niah", context, singular,
                               {{"type_needle_v", match[1]}, {"query", match[2]}}))
        << task;
  }
}

TEST_F(RulerFacts, OtherPromptsAreRulersBehindTheirExample) {
  const std::string chain = PromptOf(Make("vt"));
  const std::string own = chain.substr(chain.rfind("Memorize and track"));
  const std::string value = own.substr(own.find("the value ") + 10, 5);
  EXPECT_EQ(own, Expected("variable_tracking", Between(own, "text.\n\n", "\nQuestion:"), false,
                          {{"query", value}, {"num_v", "5"}}));
  const std::string list = PromptOf(Make("cwe"));
  const std::string last = list.substr(list.rfind("Below is a numbered"));
  EXPECT_EQ(last, Expected("common_words_extraction", Between(last, "often.\n", "\nQuestion:"),
                           false, {}));
  const std::string coded = PromptOf(Make("fwe"));
  EXPECT_EQ(coded, Expected("freq_words_extraction", Between(coded, "coded words. ", "\nQuestion:"),
                            false, {}));
}

TEST_F(RulerFacts, AnswerLengthsAndMetricsAreRulers) {
  const auto family_of = [](const std::string& task) -> std::string {
    if (task == "vt") return "variable_tracking";
    if (task == "cwe") return "common_words_extraction";
    if (task == "fwe") return "freq_words_extraction";
    return task.starts_with("qa_") ? "qa" : "niah";
  };
  for (const std::string& task : TaskGenerator::RulerTaskNames()) {
    const Dataset dataset = *FindDataset(task);
    const nlohmann::json& facts = facts_.at(family_of(task));
    EXPECT_EQ(dataset.max_tokens, facts.at("tokens_to_generate")) << task;
    EXPECT_EQ(dataset.metric, facts.at("metric").get<std::string>()) << task;
  }
}

// What is left of a multikey_3 prompt when keys and values are taken out, runs of needles as one.
std::string ShapeOf(const std::string& prompt) {
  static const std::regex uuid(
      "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-"
      "[0-9a-f]{12}");
  std::istringstream stream(std::regex_replace(prompt, uuid, "UUID"));
  std::string shape;
  std::string last;
  for (std::string line; std::getline(stream, line);) {
    if (line != last) shape += line + "\n";
    last = line;
  }
  return shape;
}

TEST_F(RulerFacts, RealSamplesAndOursHaveOneShape) {
  const std::string path = RulerFolder() + "/niah_multikey_3_4096.jsonl";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const std::string ours = ShapeOf(PromptOf(Make("niah_multikey_3")));
  std::ifstream file(path);
  int samples = 0;
  for (std::string line; std::getline(file, line); ++samples) {
    const nlohmann::json sample = nlohmann::json::parse(line);
    const std::string prompt = sample.at("input");
    EXPECT_EQ(ShapeOf(prompt), ours);
    // The needle that is asked for, as ours.
    const std::string answer = sample.at("outputs").at(0);
    const auto key = prompt.substr(prompt.rfind(" for ") + 5, answer.size());
    EXPECT_EQ(Occurrences(prompt, fmt::format("\nOne of the special magic uuids for {} is: {}.\n",
                                              key, answer)),
              1);
  }
  EXPECT_EQ(samples, 100);
  for (std::uint64_t index = 0; index < 20; ++index) {
    EXPECT_EQ(ShapeOf(PromptOf(Make("niah_multikey_3", index))), ours);
  }
}

}  // namespace
}  // namespace esa::ruler
