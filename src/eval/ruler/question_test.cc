#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "eval/ruler/qa_data.h"
#include "eval/ruler/testing/tokens.h"
#include "eval/task_generator.h"

namespace esa::ruler {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kTask =
    "Answer the question based on the given documents. Only give me the answer and do not output "
    "any other words.";

// Two articles of three paragraphs each.
constexpr const char* kSquad = R"({"version": "v2.0", "data": [
  {"title": "Rivers", "paragraphs": [
    {"context": "The Aar flows north.", "qas": [
      {"question": "Where does the Aar flow?", "id": "1", "is_impossible": false,
       "answers": [{"text": "north", "answer_start": 14}, {"text": "flows north", "answer_start": 8}]},
      {"question": "How old is it?", "id": "2", "is_impossible": true, "answers": []}]},
    {"context": "The Saar flows west.", "qas": []},
    {"context": "The Isar flows east.", "qas": [
      {"question": "Where does the Isar flow?", "id": "3", "answers": [{"text": "east", "answer_start": 15}]}]}]},
  {"title": "Hills", "paragraphs": [
    {"context": "One hill is high.", "qas": []}, {"context": "One hill is low.", "qas": []},
    {"context": "One hill is gone.", "qas": []}]}]})";

constexpr const char* kHotpot = R"([
  {"_id": "a", "question": "Who made the lamp?", "answer": "Ada", "context": [
    ["Lamp", ["The lamp is old.", " Ada made it."]], ["Chair", ["The chair is new."]]]},
  {"_id": "b", "question": "Is the chair new?", "answer": "yes", "context": [
    ["Chair", ["The chair is new."]], ["Desk", ["The desk is odd."]]]}])";

class Questions : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "esa-qa-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }
  Result<Record> Make(const TaskRequest& request) {
    const auto generator = TaskGenerator::Open(
        {.qa_data = {Write("squad.json", kSquad), Write("hotpot.json", kHotpot)}});
    if (!generator) return generator.error();
    return generator->Generate(request, CountPieces);
  }

  std::string folder_;
};

TEST_F(Questions, SquadAsRulerAsksIt) {
  const auto record = Make({.task = "qa_1", .tokens = 1000, .seed = 3});
  ASSERT_TRUE(record.ok()) << record.error().message;
  EXPECT_THAT(record->answers, ElementsAre("north", "flows north"));
  const std::string prompt = PromptOf(*record);
  EXPECT_THAT(prompt, AllOf(StartsWith(std::string(kTask) +
                                       "\n\nThe following are given documents.\n\nDocument 1:\n"),
                            EndsWith("\n\n" + std::string(kTask) +
                                     "\n\nQuestion: Where does the Aar flow? Answer:")));
  // All there are, each once.
  EXPECT_EQ(Occurrences(prompt, "\n\nDocument "), 6);
  EXPECT_EQ(Occurrences(prompt, "One hill is low."), 1);
  EXPECT_THAT(prompt, HasSubstr("\n\nDocument 6:\n"));
}

TEST_F(Questions, TheirArticleGoesBeforeOthers) {
  // Room for three documents or four.
  const auto shortest = Make({.task = "qa_1", .tokens = 10});
  ASSERT_FALSE(shortest.ok());
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto record = Make({.task = "qa_1", .tokens = 120, .seed = seed, .index = 1});
    ASSERT_TRUE(record.ok()) << record.error().message;
    EXPECT_LE(CountPieces(PromptOf(*record)), 120 - 32);
    const auto documents = Occurrences(record->context, "\n\nDocument ");
    ASSERT_GE(documents, 3);
    ASSERT_LT(documents, 6);
    EXPECT_EQ(Occurrences(record->context, "ar flows "), 3);
    EXPECT_THAT(record->answers, ElementsAre("east"));
  }
}

TEST_F(Questions, HotpotQaHasTitlesAndItsOwnDocumentsFirst) {
  const auto record = Make({.task = "qa_2", .tokens = 1000});
  ASSERT_TRUE(record.ok()) << record.error().message;
  EXPECT_THAT(record->answers, ElementsAre("Ada"));
  EXPECT_THAT(record->context, HasSubstr(":\nLamp\nThe lamp is old. Ada made it."));
  EXPECT_EQ(Occurrences(record->context, "\n\nDocument "), 3);
  EXPECT_EQ(Occurrences(record->context, "The chair is new."), 1);
  const auto small = Make({.task = "qa_2", .tokens = 60});
  ASSERT_FALSE(small.ok());
  EXPECT_THAT(small.error().message, HasSubstr("task qa_2: 60 tokens are too few"));
}

TEST_F(Questions, SeedsShuffleTheDocuments) {
  const auto context = [&](std::uint64_t seed) {
    return Make({.task = "qa_1", .tokens = 1000, .seed = seed})->context;
  };
  EXPECT_EQ(context(1), context(1));
  EXPECT_NE(context(1), context(2));
}

TEST_F(Questions, MistakesAreNamed) {
  const auto end = Make({.task = "qa_1", .tokens = 1000, .index = 2});
  ASSERT_FALSE(end.ok());
  EXPECT_THAT(end.error().message,
              HasSubstr("squad.json: has 2 questions, but record 3 was asked for"));
  const auto without = TaskGenerator::Open({.qa_data = {Write("h.json", kHotpot)}});
  ASSERT_TRUE(without.ok());
  EXPECT_FALSE(without->CanMake("qa_1"));
  EXPECT_TRUE(without->CanMake("qa_2"));
  const auto missing = without->Generate({.task = "qa_1", .tokens = 1000}, CountPieces);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().message,
            "task qa_1: its questions are SQuAD's: give --qa-data FILE, SQuAD's JSON "
            "(dev-v2.0.json)");
  for (const char* text : {"{", "{\"datum\": []}", "[{\"question\": \"q\"}]", "3"}) {
    const auto data = ReadQaData(Write("bad.json", text));
    ASSERT_FALSE(data.ok()) << text;
    EXPECT_THAT(data.error().message,
                AllOf(HasSubstr("bad.json: "), HasSubstr("expected SQuAD's {\"data\": [...]}")));
  }
  EXPECT_THAT(ReadQaData(Write("empty.json", "[]")).error().message,
              HasSubstr("empty.json: no question with an answer in it"));
}

}  // namespace
}  // namespace esa::ruler
