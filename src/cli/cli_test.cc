// Drives the built binary the way a user does: exit codes, and one clear line for each mistake.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mount.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/testing/cli_fixture.h"

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST_F(Cli, HelpHasExamplesForEveryCommand) {
  for (const char* command : {"", "run", "eval", "eval score", "eval generate", "tokenize",
                              "logits", "store stat", "demo"}) {
    const Outcome outcome = Run(std::string(command) + " --help");
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("Example"), HasSubstr("esa "))) << command;
    EXPECT_EQ(outcome.err, "") << command;
  }
  EXPECT_THAT(Run("").out, HasSubstr("Exit codes"));
  EXPECT_THAT(Run("--version").out, StartsWith("esa 0."));
}

TEST_F(Cli, UnknownCommandsAndOptionsAreUsageErrors) {
  EXPECT_THAT(ErrorOf("run --prompt x --frobnicate 3", 2),
              AllOf(HasSubstr("--frobnicate"), HasSubstr("see esa run --help")));
  EXPECT_THAT(ErrorOf("walk", 2), HasSubstr("walk"));
  EXPECT_THAT(ErrorOf("run --prompt x --max-tokens many", 2), HasSubstr("max-tokens"));
  EXPECT_THAT(ErrorOf("eval score --dataset qasper", 2), HasSubstr("--predictions"));
  EXPECT_THAT(ErrorOf("store", 2), HasSubstr("subcommand"));
}

TEST_F(Cli, MissingModel) {
  EXPECT_THAT(ErrorOf("run --prompt x", 2), HasSubstr("no model is named: give --model"));
  EXPECT_THAT(ErrorOf("run --prompt x --model /no/such/model", 1), HasSubstr("/no/such/model"));
  EXPECT_THAT(ErrorOf("run --model /no/such/model", 2), HasSubstr("nothing to answer"));
  setenv("MODEL_PATH", "/no/model/either", 1);
  EXPECT_THAT(ErrorOf("run --prompt x", 1), HasSubstr("/no/model/either"));
}

TEST_F(Cli, UnknownAlgorithmAndOptionsOfOne) {
  EXPECT_THAT(ErrorOf("run --model m --prompt x --sparse guess", 2),
              AllOf(HasSubstr("guess"), HasSubstr("ESA"), HasSubstr("dense")));
  EXPECT_THAT(ErrorOf("run --model m --prompt x --sparse ESA --sparse-config '{\"ratio\": 1}'", 2),
              AllOf(HasSubstr("ratio"), HasSubstr("sparse_ratio")));
  EXPECT_THAT(ErrorOf("run --model m --prompt x --sparse-config '{'", 2),
              HasSubstr("--sparse-config: options are not JSON"));
}

TEST_F(Cli, WrongConfiguration) {
  const std::string config = Write("c.yaml", "kv_memori: 1GB\n");
  EXPECT_THAT(ErrorOf("run --model m --prompt x --config " + config, 2),
              AllOf(HasSubstr("c.yaml: unknown key \"kv_memori\""), HasSubstr("kv_memory")));
  EXPECT_THAT(ErrorOf("run --model m --prompt x --config none.json", 2), HasSubstr("none.json"));
  EXPECT_THAT(ErrorOf("run --model m --prompt x --kv-memory 3parsecs", 2),
              AllOf(HasSubstr("--kv-memory"), HasSubstr("3parsecs"), HasSubstr("GiB")));
  setenv("ENABLE_SPARSE", "perhaps", 1);
  EXPECT_THAT(ErrorOf("run --model m --prompt x", 2), HasSubstr("ENABLE_SPARSE"));
}

TEST_F(Cli, MalformedLinesAreNamed) {
  const std::string predictions =
      Write("p.jsonl", "{\"pred\": \"x\", \"answers\": [\"x\"]}\n{\"pred\": \"x\"}\n");
  EXPECT_THAT(ErrorOf("eval score --dataset qasper --predictions " + predictions, 1),
              HasSubstr("p.jsonl:2: field \"answers\": found nothing, expected a list of texts"));
  const std::string records = Write("r.jsonl", "{\"input\": \"q\", \"context\"\n");
  EXPECT_THAT(ErrorOf("eval --model m --dataset qasper --out " + folder_ + " --data " + records, 1),
              HasSubstr("r.jsonl:1: expected one JSON object with input, context and answers"));
  EXPECT_THAT(ErrorOf("eval --model m --dataset qaspar --out o --data " + records, 2),
              AllOf(HasSubstr("qaspar"), HasSubstr("qasper")));
  EXPECT_THAT(ErrorOf("eval --model m --dataset qasper --out o", 2), HasSubstr("DATASET_PATH"));
}

TEST_F(Cli, ScoresPredictions) {
  const std::string predictions =
      Write("p.jsonl",
            "{\"pred\": \"The cat.\", \"answers\": [\"dog\", \"cat\"]}\n"
            "{\"pred\": \"bird\", \"answers\": [\"cat\"]}\n");
  const Outcome outcome = Run("eval score --dataset qasper --json --per-sample " + folder_ +
                              "/s.json --predictions " + predictions);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out).at("score"), 50.0);
  EXPECT_EQ(nlohmann::json::parse(ReadAll(folder_ + "/s.json")).at("qasper"),
            nlohmann::json::array({1.0, 0.0}));
}

TEST_F(Cli, ScoresAFolderOfPredictions) {
  const std::string classes = R"(, "all_classes": ["Food", "Date"]})";
  Write("trec.jsonl", R"({"pred": "Food\nDate", "answers": ["Food"])" + classes + "\n" +
                          R"({"pred": "Food", "answers": ["Date"])" + classes + "\n");
  Write("passage_count.jsonl", R"({"pred": "5 or 6", "answers": ["6"]})");
  Write("notes.jsonl", "{}");
  const std::string score = "eval score --predictions " + folder_;
  const Outcome table = Run(score + " --per-sample " + folder_ + "/s.json");
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, AllOf(HasSubstr("trec                    50.00            2\n"),
                               HasSubstr("average of 2            50.00\n")));
  EXPECT_EQ(nlohmann::json::parse(ReadAll(folder_ + "/s.json")),
            nlohmann::json::parse(R"({"trec": [1.0, 0.0], "passage_count": [0.5]})"));
  const auto json = nlohmann::json::parse(Run(score + " --json").out);
  EXPECT_EQ(json.at("average"), 50.0);
  EXPECT_EQ(json.at("datasets").at("trec").at("records"), 2);
  EXPECT_EQ(nlohmann::json::parse(Run(score + " --json --dataset trec").out).at("score"), 50.0);
}

TEST_F(Cli, PredictionsThatCannotBeScored) {
  const std::string predictions = Write("p.jsonl", R"({"pred": "Food", "answers": ["Food"]})");
  const std::string score = "eval score --predictions ";
  EXPECT_THAT(ErrorOf(score + predictions + " --dataset lsht", 1),
              HasSubstr("p.jsonl: prediction 1: field \"all_classes\": found nothing"));
  EXPECT_THAT(ErrorOf(score + predictions + " --dataset passage_retrieval_en", 1),
              HasSubstr("expected \"Paragraph \" and a number"));
  EXPECT_THAT(ErrorOf(score + predictions, 2), HasSubstr("want --dataset NAME"));
  EXPECT_THAT(ErrorOf(score + folder_, 1), HasSubstr("expected files such as hotpotqa.jsonl"));
  EXPECT_THAT(ErrorOf(score + folder_ + "/none", 1), HasSubstr("none"));
}

TEST_F(Cli, TokenizeNamesWhatIsMissing) {
  const std::string texts = Write("t.jsonl", "{\"text\": \"x\"}\n");
  EXPECT_THAT(ErrorOf("tokenize --model " + folder_ + " --jsonl " + texts, 1),
              HasSubstr("tokenizer.json"));
}

TEST_F(CliWithModel, TokenizesLines) {
  const std::string texts = Write("t.jsonl", "{\"text\": \"The key\"}\n\n{\"text\": \"\"}\n");
  const Outcome outcome = Run("tokenize --model " + model_ + " --jsonl " + texts);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(StartsWith("{\"ids\":["), EndsWith("]}\n{\"ids\":[]}\n")));
  const std::string broken = Write("b.jsonl", "{\"text\": 5}\n");
  EXPECT_THAT(ErrorOf("tokenize --model " + model_ + " --jsonl " + broken, 1),
              HasSubstr("b.jsonl:1: expected an object {\"text\": \"...\"}"));
}

TEST_F(CliWithModel, BadIdsAreNamed) {
  const std::string out = folder_ + "/logits";
  const auto error_of = [&](const std::string& ids) {
    return ErrorOf("logits --model " + model_ + " --out " + out + " --ids " + Write("i.txt", ids),
                   1);
  };
  EXPECT_THAT(error_of("1 2 x3"),
              HasSubstr("i.txt: token 3: found \"x3\", expected a whole number"));
  EXPECT_THAT(error_of("1 99999999"), HasSubstr("token 2: found \"99999999\""));
  EXPECT_THAT(error_of("-1"), HasSubstr("token 1: found \"-1\""));
  EXPECT_THAT(error_of(" \n"), HasSubstr("no token ids in it"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(CliWithModel, LogitsHaveARowForEveryToken) {
  const std::string out = folder_ + "/logits";
  const Outcome outcome = Run("logits --model " + model_ + " --out " + out + " --ids " +
                              Write("i.txt", "1 2\n3\t4 5\n"));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::string config = ReadAll(model_ + "/config.json");
  const auto vocab = nlohmann::json::parse(config).at("vocab_size").get<std::size_t>();
  EXPECT_EQ(std::filesystem::file_size(out), 5 * vocab * sizeof(float));
}

TEST_F(CliWithModel, GeneratesAndAnswersRecords) {
  const std::string data = folder_ + "/needle.jsonl";
  const std::string generate =
      "eval generate --task needle --tokens 1024 --count 3 --seed 1 --model " + model_;
  ASSERT_EQ(Run(generate + " --out " + data).code, 0);
  ASSERT_EQ(Run(generate + " --out " + data + "2").code, 0);
  EXPECT_EQ(ReadAll(data), ReadAll(data + "2"));
  EXPECT_THAT(ErrorOf("eval generate --task noodle --tokens 1024 --out x --model " + model_, 2),
              HasSubstr("noodle"));
  const std::string eval = "eval --dataset needle --json --sparse dense --model " + model_ +
                           " --data " + data + " --out " + folder_ + "/results";
  const Outcome first = Run(eval);
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_EQ(nlohmann::json::parse(first.out).at("records"), 3);
  const Outcome again = Run(eval);
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(nlohmann::json::parse(again.out).at("resumed"), 3);
  EXPECT_EQ(nlohmann::json::parse(again.out).at("score"),
            nlohmann::json::parse(first.out).at("score"));
}

TEST_F(CliWithModel, GeneratesRulersTasksByLength) {
  const std::string out = folder_ + "/ruler";
  const std::string generate = "eval generate --count 2 --model " + model_ + " --out ";
  const Outcome all = Run(generate + out + " --task all,needle --tokens 1500,2500");
  ASSERT_EQ(all.code, 0) << all.err;
  EXPECT_THAT(all.err, HasSubstr("without qa_1, qa_2: give --qa-data FILE"));
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(out)) ++files;
  EXPECT_EQ(files, 2 * 12u);
  const std::string line = ReadAll(out + "/vt_2500.jsonl");
  const auto record = nlohmann::json::parse(line.substr(0, line.find('\n')));
  EXPECT_EQ(record.at("dataset"), "vt");
  EXPECT_EQ(record.at("tokens"), 2500);
  EXPECT_LE(record.at("length"), 2500);
  EXPECT_GT(record.at("length"), 2400);

  const Outcome scored =
      Run("eval --dataset niah_single_1 --json --sparse dense --model " + model_ + " --data " +
          out + "/niah_single_1_1500.jsonl --out " + folder_ + "/r");
  ASSERT_EQ(scored.code, 0) << scored.err;
  EXPECT_EQ(nlohmann::json::parse(scored.out).at("records"), 2);
}

TEST_F(CliWithModel, GeneratesANeedleAtEachDepth) {
  const std::string out = folder_ + "/depths.jsonl";
  const std::string generate =
      "eval generate --count 2 --tokens 1500 --depth 0,0.5,1 --model " + model_ + " --out " + out;
  ASSERT_EQ(Run(generate + " --task niah_single_2").code, 0);
  const std::string lines = ReadAll(out);
  std::vector<std::string> ids;
  for (std::size_t at = 0; at < lines.size(); at = lines.find('\n', at) + 1) {
    const auto record = nlohmann::json::parse(lines.substr(at, lines.find('\n', at) - at));
    ids.push_back(record.at("_id").get<std::string>());
    EXPECT_EQ(record.at("depth"), (ids.size() - 1) % 3 * 0.5);
  }
  EXPECT_EQ(ids.size(), 6u);
  EXPECT_EQ(ids[1], "niah_single_2-1500-0-0-0.5");
  // A task without a depth is not written three times over.
  ASSERT_EQ(Run(generate + " --task vt").code, 0);
  const std::string chains = ReadAll(out);
  EXPECT_EQ(std::count(chains.begin(), chains.end(), '\n'), 2);
}

TEST_F(CliWithModel, WhatCannotBeGeneratedIsNamed) {
  const std::string generate = "eval generate --out " + folder_ + "/x --model " + model_;
  EXPECT_THAT(ErrorOf(generate + " --task qa_2", 2),
              AllOf(HasSubstr("task qa_2"), HasSubstr("HotpotQA"), HasSubstr("--qa-data FILE")));
  EXPECT_THAT(ErrorOf(generate + " --task vt --tokens 200", 2),
              HasSubstr("task vt: 200 tokens are too few"));
  EXPECT_THAT(ErrorOf(generate + " --task niah_single_2 --haystack /no/essay", 1),
              HasSubstr("/no/essay"));
  EXPECT_THAT(ErrorOf(generate + " --task vt --depth 0,2", 2), HasSubstr("--depth"));
  const std::string file = Write("file", "");
  EXPECT_THAT(
      ErrorOf("eval generate --task vt,cwe --tokens 2000 --model " + model_ + " --out " + file, 1),
      HasSubstr(file + ": cannot be made a folder"));
}

TEST_F(CliWithModel, RunPrintsTextAndStats) {
  const std::string prompt = Write("p.txt", "The key of Ada is acorn.\n\nQuestion: What?\nAnswer:");
  const std::string run = "run --max-tokens 4 --model " + model_ + " --file " + prompt;
  const Outcome text = Run(run);
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.err, AllOf(HasSubstr("prompt"), HasSubstr("tokens/s")));
  const Outcome json = Run(run + " --json");
  ASSERT_EQ(json.code, 0) << json.err;
  const auto completion = nlohmann::json::parse(json.out).at("completions").at(0);
  EXPECT_EQ(completion.at("text").get<std::string>() + "\n", text.out);
  EXPECT_GT(completion.at("stats").at("prompt_tokens"), 5);
}

TEST_F(CliWithModel, StoreStatCountsWhatRunLeft) {
  const std::string store = folder_ + "/kv";
  const std::string prompt = Write("p.txt", std::string(4000, 'a'));
  const Outcome run = Run("run --max-tokens 1 --block-tokens 16 --store " + store + " --model " +
                          model_ + " --file " + prompt);
  ASSERT_EQ(run.code, 0) << run.err;
  const Outcome stat = Run("store stat --json --store " + store);
  ASSERT_EQ(stat.code, 0) << stat.err;
  EXPECT_GT(nlohmann::json::parse(stat.out).at("folders").at(0).at("blocks"), 0);
  EXPECT_THAT(ErrorOf("store stat --store " + folder_ + "/none", 1), HasSubstr("none"));
}

// A store in a file system of 256 KiB.
class CliWithFullStore : public CliWithModel {
 protected:
  void SetUp() override {
    CliWithModel::SetUp();
    if (IsSkipped()) return;
    store_ = folder_ + "/full";
    std::filesystem::create_directory(store_);
    mounted_ = mount("none", store_.c_str(), "tmpfs", 0, "size=256k,mode=700") == 0;
    if (!mounted_) GTEST_SKIP() << "no tmpfs can be mounted";
    run_ = "run --json --max-tokens 4 --block-tokens 16 --model " + model_ + " --file " +
           Write("p.txt", std::string(4000, 'a'));
  }
  void TearDown() override {
    if (mounted_) umount2(store_.c_str(), MNT_DETACH);
    CliWithModel::TearDown();
  }
  std::string store_;
  std::string run_;
  bool mounted_ = false;
};

TEST_F(CliWithFullStore, AnswersAndSaysThatNothingWasStored) {
  const Outcome stored = Run(run_ + " --store " + store_);
  EXPECT_EQ(stored.code, 1);
  EXPECT_THAT(stored.err, StartsWith("esa: the KV blocks were not stored: "));
  EXPECT_EQ(std::count(stored.err.begin(), stored.err.end(), '\n'), 1) << stored.err;
  const Outcome memory = Run(run_);
  ASSERT_EQ(memory.code, 0) << memory.err;
  const auto text_of = [](const Outcome& outcome) {
    return nlohmann::json::parse(outcome.out).at("completions").at(0).at("text");
  };
  EXPECT_EQ(text_of(stored), text_of(memory));
}

TEST_F(CliWithFullStore, FailsWhereMemoryDependsOnIt) {
  EXPECT_THAT(ErrorOf(run_ + " --kv-memory 5MiB --store " + store_, 1),
              AllOf(HasSubstr("the store failed"), HasSubstr("No space left on device")));
}

TEST_F(CliWithModel, AFileIsNoStore) {
  const std::string file = Write("file", "");
  EXPECT_THAT(ErrorOf("run --prompt x --model " + model_ + " --store " + file, 1),
              HasSubstr(file + ": expected a folder"));
}

}  // namespace
}  // namespace esa
