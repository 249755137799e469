#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "eval/ruler/testing/tokens.h"
#include "eval/task_generator.h"

namespace esa::ruler {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Those that need no data.
std::vector<std::string> OwnTasks() {
  std::vector<std::string> tasks = TaskGenerator::RulerTaskNames();
  std::erase_if(tasks, [](const std::string& task) { return task.starts_with("qa_"); });
  return tasks;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// "1. word 2. word" to how often each word is there.
std::map<std::string, int> CountsOf(const std::string& list) {
  std::map<std::string, int> counts;
  std::istringstream stream(list);
  for (std::string number, word; stream >> number >> word;) ++counts[word];
  return counts;
}

class RulerTask : public ::testing::Test {
 protected:
  Record Make(const TaskRequest& request) const {
    const auto record = generator_->Generate(request, CountPieces);
    EXPECT_TRUE(record.ok()) << request.task << ": " << record.error().message;
    return record.ok() ? *record : Record{};
  }
  std::string ErrorOf(const TaskRequest& request) const {
    const auto record = generator_->Generate(request, CountPieces);
    return record.ok() ? "" : record.error().message;
  }

  Result<TaskGenerator> generator_ = TaskGenerator::Open({});
};

TEST_F(RulerTask, ThereAreThirteenAndAllAreDataSets) {
  const std::vector<std::string> names = TaskGenerator::RulerTaskNames();
  EXPECT_EQ(names.size(), 13u);
  EXPECT_EQ(generator_->Tasks(), names);
  for (const std::string& name : names) EXPECT_TRUE(FindDataset(name).ok()) << name;
}

TEST_F(RulerTask, FillTheLengthAndLeaveRoomForTheAnswer) {
  for (const std::string& task : OwnTasks()) {
    for (const std::int64_t tokens : {1200, 4096, 8192, 20000}) {
      const Record record = Make({.task = task, .tokens = tokens, .seed = 5});
      const std::int64_t answer = FindDataset(task)->max_tokens;
      const std::int64_t prompt = CountPieces(PromptOf(record));
      EXPECT_LE(prompt + answer, tokens) << task;
      EXPECT_GT(prompt + answer, tokens - 80) << task;
      EXPECT_EQ(record.length, prompt + answer) << task;
      EXPECT_EQ(record.tokens, tokens);
      EXPECT_EQ(record.dataset, task);
    }
  }
}

TEST_F(RulerTask, AnswersStandInTheContext) {
  const std::map<std::string, std::size_t> several = {
      {"niah_multivalue", 4}, {"niah_multiquery", 4}, {"vt", 5}, {"cwe", 10}, {"fwe", 3}};
  for (const std::string& task : OwnTasks()) {
    const auto expected = several.find(task);
    for (std::uint64_t index = 0; index < 10; ++index) {
      const Record record = Make({.task = task, .tokens = 4096, .index = index});
      EXPECT_EQ(record.answers.size(), expected == several.end() ? 1 : expected->second) << task;
      const std::set<std::string> different(record.answers.begin(), record.answers.end());
      EXPECT_EQ(different.size(), record.answers.size()) << task;
      for (const std::string& answer : record.answers) {
        EXPECT_THAT(record.context, HasSubstr(answer)) << task;
        // Words of the question may be among the common ones.
        EXPECT_TRUE(task == "cwe" || Occurrences(record.input, answer) == 0) << task;
      }
    }
  }
}

TEST_F(RulerTask, EqualRequestsGiveEqualRecordsAndOthersDiffer) {
  for (const std::string& task : OwnTasks()) {
    const TaskRequest request{.task = task, .tokens = 2000, .seed = 7, .index = 2};
    const std::string line = ToJsonLine(Make(request));
    EXPECT_EQ(line, ToJsonLine(Make(request)));
    TaskRequest other_seed = request;
    other_seed.seed = 8;
    EXPECT_NE(Make(request).answers, Make(other_seed).answers) << task;
    TaskRequest other_index = request;
    other_index.index = 3;
    EXPECT_NE(Make(request).answers, Make(other_index).answers) << task;
  }
}

TEST_F(RulerTask, NeedlesAreAskedByTheirKeys) {
  const std::regex question(
      "What is the special magic (\\w+) for (\\S+) mentioned in the provided text\\? The special "
      "magic (\\w+) for (\\S+) mentioned in the provided text is");
  for (const char* task : {"niah_single_1", "niah_single_2", "niah_single_3", "niah_multikey_1",
                           "niah_multikey_2", "niah_multikey_3"}) {
    for (std::uint64_t index = 0; index < 10; ++index) {
      const Record record = Make({.task = task, .tokens = 4096, .index = index});
      std::smatch match;
      ASSERT_TRUE(std::regex_match(record.input, match, question)) << record.input;
      EXPECT_EQ(match[2], match[4]);
      const std::string needle = fmt::format("One of the special magic {}s for {} is: {}.",
                                             match[1].str(), match[2].str(), record.answers[0]);
      EXPECT_EQ(Occurrences(record.context, needle), 1) << task;
      EXPECT_EQ(Occurrences(record.context, " for " + match[2].str() + " is: "), 1) << task;
      EXPECT_THAT(record.context,
                  StartsWith(fmt::format("A special magic {} is hidden", match[1].str())));
    }
  }
}

TEST_F(RulerTask, NumbersOfNeedles) {
  const auto needles = [&](const char* task) {
    return Occurrences(Make({.task = task, .tokens = 4096}).context, "One of the special magic ");
  };
  EXPECT_EQ(needles("niah_single_1"), 1);
  EXPECT_EQ(needles("niah_single_2"), 1);
  EXPECT_EQ(needles("niah_multikey_1"), 4);
  EXPECT_EQ(needles("niah_multivalue"), 4);
  EXPECT_EQ(needles("niah_multiquery"), 4);
  EXPECT_GT(needles("niah_multikey_2"), 100);
}

TEST_F(RulerTask, SeveralValuesOfOneKeyAndSeveralQueries) {
  const Record values = Make({.task = "niah_multivalue", .tokens = 2000});
  std::smatch match;
  const std::regex one_key("What are all the special magic numbers for (\\S+) mentioned .* are");
  ASSERT_TRUE(std::regex_match(values.input, match, one_key)) << values.input;
  for (const std::string& answer : values.answers) {
    EXPECT_THAT(values.context, HasSubstr(match[1].str() + " is: " + answer + "."));
  }
  EXPECT_THAT(values.context, StartsWith("Some special magic numbers are hidden within the"));
  EXPECT_FALSE(values.depth.has_value());

  const Record queries = Make({.task = "niah_multiquery", .tokens = 2000});
  const std::regex four_keys(
      "What are all the special magic numbers for (\\S+), (\\S+), (\\S+), and (\\S+) mentioned .*");
  ASSERT_TRUE(std::regex_match(queries.input, match, four_keys)) << queries.input;
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_THAT(queries.context, HasSubstr(match[i + 1].str() + " is: " + queries.answers[i]));
  }
}

TEST_F(RulerTask, ValuesHaveTheirForms) {
  const std::regex number("[1-9]\\d{6}");
  const std::regex uuid("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  for (std::uint64_t index = 0; index < 30; ++index) {
    const auto answer = [&](const char* task) {
      return Make({.task = task, .tokens = 1200, .index = index}).answers[0];
    };
    EXPECT_TRUE(std::regex_match(answer("niah_single_1"), number));
    EXPECT_TRUE(std::regex_match(answer("niah_single_3"), uuid)) << answer("niah_single_3");
    EXPECT_TRUE(std::regex_match(answer("niah_multikey_3"), uuid));
  }
}

TEST_F(RulerTask, DepthMovesTheNeedleThroughTheSameText) {
  for (const char* task :
       {"niah_single_1", "niah_single_2", "niah_multikey_1", "niah_multikey_2"}) {
    const auto at = [&](double depth) {
      return Make({.task = task, .tokens = 6000, .depth = depth, .seed = 3});
    };
    const auto place = [](const Record& record) {
      return static_cast<double>(record.context.find(record.answers[0])) /
             static_cast<double>(record.context.size());
    };
    EXPECT_EQ(at(0).answers, at(1).answers);
    EXPECT_LT(place(at(0)), 0.02) << task;
    EXPECT_NEAR(place(at(0.25)), 0.25, 0.03) << task;
    EXPECT_GT(place(at(1)), 0.99) << task;
    EXPECT_EQ(at(0.25).depth, 0.25);
    // The end of the text is where it was, so that only what lies between has moved.
    const std::string tail = at(0).context.substr(at(0).context.size() - 300, 200);
    EXPECT_THAT(at(0.25).context, HasSubstr(tail)) << task;
  }
}

TEST_F(RulerTask, WithoutDepthNeedlesAreSpread) {
  std::set<int> tenths;
  for (std::uint64_t index = 0; index < 60; ++index) {
    const Record record = Make({.task = "niah_single_2", .tokens = 1500, .index = index});
    ASSERT_TRUE(record.depth.has_value());
    const double place = static_cast<double>(record.context.find("One of the special")) /
                         static_cast<double>(record.context.size());
    EXPECT_NEAR(*record.depth, place, 0.12);
    tenths.insert(static_cast<int>(*record.depth * 9.99));
  }
  EXPECT_GE(tenths.size(), 8u);
}

TEST_F(RulerTask, VariablesAreSetOneFromTheOther) {
  for (std::uint64_t index = 0; index < 10; ++index) {
    const Record record = Make({.task = "vt", .tokens = 3000, .index = index});
    const std::string value = record.input.substr(record.input.find("the value ") + 10, 5);
    const std::size_t begin = record.context.rfind("Memorize and track");
    ASSERT_GT(begin, 0u);
    std::vector<std::string> assignments;
    for (const std::string& line : Lines(record.context.substr(begin))) {
      if (line.starts_with("VAR ")) assignments.push_back(line);
    }
    ASSERT_EQ(assignments.size(), 5u);
    EXPECT_EQ(assignments[0], "VAR " + record.answers[0] + " = " + value);
    for (std::size_t i = 1; i < 5; ++i) {
      EXPECT_EQ(assignments[i],
                "VAR " + record.answers[i] + " = VAR " + record.answers[i - 1] + " ");
    }
    const std::regex example("[^]*they are:  [A-Z]{3} [A-Z]{3} [A-Z]{3} [A-Z]{3} [A-Z]{3}\n\n");
    EXPECT_TRUE(std::regex_match(record.context.substr(0, begin), example));
  }
}

TEST_F(RulerTask, CommonWordsAreThoseThatAreRepeatedMost) {
  struct Case {
    std::int64_t tokens;
    int common;
    int others;
  };
  for (const Case& c : {Case{1500, 6, 1}, Case{4096, 30, 3}, Case{16384, 30, 3}}) {
    const Record record = Make({.task = "cwe", .tokens = c.tokens});
    const std::map<std::string, int> counts =
        CountsOf(record.context.substr(record.context.rfind('\n') + 1));
    for (const auto& [word, times] : counts) {
      const bool common =
          std::find(record.answers.begin(), record.answers.end(), word) != record.answers.end();
      EXPECT_EQ(times, common ? c.common : c.others) << word;
    }
    EXPECT_GT(counts.size(), 15u);
    // The worked example stands before, with its answer.
    EXPECT_EQ(Occurrences(record.context, "Below is a numbered list of words."), 2);
    EXPECT_THAT(record.context, HasSubstr("in the list are: 1. "));
  }
}

TEST_F(RulerTask, FrequentWordsFollowTheirRanks) {
  const Record record = Make({.task = "fwe", .tokens = 8192});
  std::map<std::string, int> counts;
  std::istringstream stream(record.context.substr(record.context.find("coded words. ") + 13));
  for (std::string word; stream >> word;) ++counts[word];
  std::vector<std::pair<int, std::string>> ranked;
  for (const auto& [word, times] : counts) ranked.emplace_back(times, word);
  std::sort(ranked.rbegin(), ranked.rend());
  EXPECT_EQ(ranked[0].second, "...");
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(ranked[i + 1].second, record.answers[i]);
  EXPECT_GT(ranked[3].first, ranked[4].first);
  EXPECT_NEAR(static_cast<double>(ranked[0].first) / ranked[1].first, 4.0, 0.1);
  // Even the shortest has three that are most frequent.
  const Record shortest = Make({.task = "fwe", .tokens = 320});
  EXPECT_EQ(shortest.answers.size(), 3u);
}

TEST_F(RulerTask, MistakesAreNamed) {
  EXPECT_THAT(ErrorOf({.task = "niah_single_9", .tokens = 4096}),
              AllOf(StartsWith("task \"niah_single_9\" is not known; known are: niah_single_1, "),
                    HasSubstr("qa_2")));
  for (const std::string& task : OwnTasks()) {
    EXPECT_THAT(ErrorOf({.task = task, .tokens = 100}),
                AllOf(StartsWith("task " + task +
                                 ": 100 tokens are too few; its shortest prompt "
                                 "has "),
                      HasSubstr(fmt::format("and the answer {}", FindDataset(task)->max_tokens))));
  }
  const auto haystack = TaskGenerator::Open({.haystack = "/no/such/essay.txt"});
  ASSERT_FALSE(haystack.ok());
  EXPECT_THAT(haystack.error().message, HasSubstr("/no/such/essay.txt"));
}

// FNV-1a, 64 bits.
std::uint64_t HashOf(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

struct Golden {
  const char* task;
  const char* input;
  const char* answers;  // joined
  std::uint64_t hash;   // of the prompt
};

// A record is what its seed says on every platform. A change here is a change of every record that
// was ever generated.
TEST_F(RulerTask, IsTheSameEverywhere) {
  const Golden all[] = {
      {"niah_single_1",
       "What is the special magic number for ancient-kettle mentioned in the provided text? The "
       "special magic number for ancient-kettle mentioned in the provided text is",
       "4873305", 0xc486c3d7afef055du},
      {"niah_single_2",
       "What is the special magic number for jolly-hill mentioned in the provided text? The "
       "special magic number for jolly-hill mentioned in the provided text is",
       "1820248", 0xa14146a8015aaabu},
      {"niah_single_3",
       "What is the special magic uuid for loyal-jacket mentioned in the provided text? The "
       "special magic uuid for loyal-jacket mentioned in the provided text is",
       "4ec5f0e9-20f5-405f-9fa6-8e51f35a8483", 0x7489b1e4d80853b6u},
      {"niah_multikey_1",
       "What is the special magic number for golden-beetle mentioned in the provided text? The "
       "special magic number for golden-beetle mentioned in the provided text is",
       "3248578", 0xae6f558981a3ccf7u},
      {"niah_multikey_2",
       "What is the special magic number for clever-lagoon mentioned in the provided text? The "
       "special magic number for clever-lagoon mentioned in the provided text is",
       "6256476", 0x30e35e1805ba6befu},
      {"niah_multikey_3",
       "What is the special magic uuid for caaf8d96-7ed8-4362-aaff-67356277408f mentioned in the "
       "provided text? The special magic uuid for caaf8d96-7ed8-4362-aaff-67356277408f mentioned "
       "in the provided text is",
       "f80b2241-1d5b-438e-ba16-6a7be2c7b8f0", 0x5c431ad339e0cc23u},
      {"niah_multivalue",
       "What are all the special magic numbers for icy-coast mentioned in the provided text? The "
       "special magic numbers for icy-coast mentioned in the provided text are",
       "8195654 3763076 5714819 5422074", 0x375b0ac395b025e2u},
      {"niah_multiquery",
       "What are all the special magic numbers for able-beetle, ready-onion, mighty-puzzle, and "
       "hollow-biscuit mentioned in the provided text? The special magic numbers for able-beetle, "
       "ready-onion, mighty-puzzle, and hollow-biscuit mentioned in the provided text are",
       "1084321 7743174 5393660 7528885", 0x6b3afa9e17ed4b35u},
      {"vt",
       "Question: Find all variables that are assigned the value 74699 in the text above. Answer: "
       "According to the chain(s) of variable assignment in the text above, 5 variables are "
       "assigned the value 74699, they are: ",
       "JIRBB ILKZY SIJPY VQYOV DHCSX", 0xd01fa383c580212cu},
      {"cwe",
       "Question: What are the 10 most common words in the above list? Answer: The top 10 words "
       "that appear most often in the list are:",
       "salty hold agree matter puzzle kick fruit cushion gray market", 0x35cc483b3c64cd57u},
      {"fwe",
       "Question: Do not provide any explanation. Please ignore the dots '....'. What are the "
       "three most frequently appeared words in the above coded text? Answer: According to the "
       "coded text above, the three most frequently appeared words are:",
       "dbacld dheepc cjqbdu", 0x2f7f7a17a96af597u},
  };
  for (const Golden& golden : all) {
    const Record record = Make({.task = golden.task, .tokens = 4096, .seed = 42, .index = 1});
    EXPECT_EQ(record.input, golden.input) << golden.task;
    EXPECT_EQ(fmt::format("{}", fmt::join(record.answers, " ")), golden.answers) << golden.task;
    EXPECT_EQ(HashOf(PromptOf(record)), golden.hash) << golden.task;
  }
}

}  // namespace
}  // namespace esa::ruler
