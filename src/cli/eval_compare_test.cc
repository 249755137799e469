// esa eval compare with the embedded model, as a user runs it and as a library.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/compare_engine.h"
#include "cli/testing/cli_fixture.h"
#include "esa/sparse_attention.h"

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(Cli, CompareSaysWhatIsMissingOrWrong) {
  const std::string compare = "eval compare --model m --out " + folder_ + "/o";
  EXPECT_THAT(Run("eval compare --help").out,
              AllOf(HasSubstr("Example"), Not(HasSubstr("--sparse "))));
  EXPECT_THAT(ErrorOf(compare, 2), HasSubstr("give --data FILE.jsonl"));
  EXPECT_THAT(ErrorOf("eval compare --model m --data d", 2), HasSubstr("give --out DIR"));
  EXPECT_THAT(ErrorOf(compare + " --data d --algorithms guess", 2),
              AllOf(HasSubstr("guess"), HasSubstr("ESA")));
  EXPECT_THAT(ErrorOf(compare + " --data d --ratios 0.1,1", 2), HasSubstr("ratio 1: expected"));
  EXPECT_THAT(ErrorOf(compare + " --data d --stride 2", 2), HasSubstr("retrieval_stride"));
  EXPECT_THAT(ErrorOf(compare + " --data d --options '{\"ESA\": {\"init\": 1}}'", 2),
              AllOf(HasSubstr("init"), HasSubstr("init_window_sz")));
  EXPECT_THAT(ErrorOf(compare + " --data d --row 'ESA=ESA'", 2), HasSubstr("called \"ESA\""));
  EXPECT_THAT(ErrorOf(compare + " --data /none.jsonl", 1), HasSubstr("/none.jsonl"));
  EXPECT_THAT(ErrorOf(compare + " --data d --sparse ESA", 2), HasSubstr("--sparse"));
}

class CliCompare : public CliWithModel {
 protected:
  void SetUp() override {
    CliWithModel::SetUp();
    if (IsSkipped()) return;
    data_ = folder_ + "/needle.jsonl";
    ASSERT_EQ(Run("eval generate --task needle --tokens 2048 --count 2 --seed 5 --model " + model_ +
                  " --out " + data_)
                  .code,
              0);
    compare_ = "eval compare --model " + model_ + " --data " + data_ + " --out " + folder_ +
               "/compared --block-tokens ";
  }

  std::string data_;
  std::string compare_;
};

TEST_F(CliCompare, ComparesOverOneStore) {
  const std::string run = compare_ + "32 --algorithms ESA --ratios 0.1 --json";
  const Outcome first = Run(run);
  ASSERT_EQ(first.code, 0) << first.err;
  const auto json = nlohmann::json::parse(first.out);
  const auto cell_of = [&](const std::string& name) -> nlohmann::json {
    for (const auto& row : json.at("rows")) {
      if (row.at("row") == name) return row.at("data").at(0);
    }
    ADD_FAILURE() << "no row " << name;
    return {};
  };
  const auto cost_of = [&](const std::string& name) { return cell_of(name).at("cost"); };
  EXPECT_EQ(cell_of("dense").at("score"), 100.0);
  EXPECT_EQ(cell_of("ESA 0.1").at("score"), 100.0);
  EXPECT_LT(cell_of("random 0.1").at("score"), 100.0);
  EXPECT_EQ(cost_of("dense").at("restored_tokens"), 0);
  EXPECT_EQ(cost_of("dense").at("sparse"), 0);
  EXPECT_TRUE(cost_of("dense").at("missed_mass").is_null());
  for (const char* name : {"ESA 0.1", "random 0.1", "streaming"}) {
    const auto cost = cost_of(name);
    EXPECT_GE(cost.at("restored_tokens"), 1024) << name;
    EXPECT_EQ(cost.at("sparse"), 1) << name;
    EXPECT_EQ(cost.at("loaded_bytes"), 0) << name;
    EXPECT_LT(cost.at("attended_bytes_per_token"), cost_of("dense").at("attended_bytes_per_token"));
    EXPECT_GT(cost.at("missed_mass"), 0) << name;
  }
  EXPECT_GT(cost_of("random 0.1").at("missed_mass"), cost_of("ESA 0.1").at("missed_mass"));
  EXPECT_GT(cost_of("random 0.1").at("fetched_bytes"), 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/compared/store"));
  EXPECT_THAT(ReadAll(folder_ + "/compared/compare.html"),
              HasSubstr("Which blocks each layer chose"));
  EXPECT_THAT(ReadAll(folder_ + "/compared/compare.csv"), HasSubstr(",ESA 0.1,ESA,ESA,0.1,"));
  EXPECT_EQ(ReadAll(folder_ + "/compared/compare.json"), first.out);

  const Outcome again = Run(run);
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, first.out);
}

TEST_F(CliCompare, BoundedMemoryLoads) {
  const Outcome outcome =
      Run(compare_ + "32 --algorithms ESA --ratios 0.1 --limit 1 --kv-memory 3MiB --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const auto& row : nlohmann::json::parse(outcome.out).at("rows")) {
    const auto& cost = row.at("data").at(0).at("cost");
    EXPECT_LE(cost.at("peak_resident_bytes"), 3 << 20) << row;
    EXPECT_TRUE(row.at("row") != "dense" || cost.at("loaded_bytes") > 0) << row;
  }
}

TEST_F(CliCompare, TooShortRecordsForTheBudget) {
  EXPECT_THAT(ErrorOf(compare_ + "512 --algorithms ESA --ratios 0.1", 1),
              AllOf(HasSubstr("ESA 0.1"), HasSubstr("needle"), HasSubstr("--block-tokens")));
}

// Has a small budget and attends to everything.
class Wasteful : public SparseAttention {
 public:
  std::int64_t ResidentBlocks(const SequenceShape&) const override { return 4; }
  void AttentionBegin(AttentionStep& step) override {
    std::vector<BlockIndex> all;
    for (std::int64_t b = 0; b < step.shape().sealed_blocks; ++b) {
      all.push_back(static_cast<BlockIndex>(b));
    }
    step.Attend(all);
  }
};

TEST_F(CliCompare, ARowThatAttendsToEverythingIsAnError) {
  (void)RegisterSparseAttention(
      "wasteful", [](const Options&) -> Result<std::unique_ptr<SparseAttention>> {
        return std::unique_ptr<SparseAttention>(std::make_unique<Wasteful>());
      });
  EngineConfig config;
  config.model_dir = model_;
  config.block_tokens = 32;
  const auto tokenizer = Tokenizer::Load(model_);
  ASSERT_TRUE(tokenizer.ok());
  const auto engine = cli::CompareEngineOf(config, tokenizer->get());
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  CompareRequest request;
  request.rows = *PlanRows({.algorithms = {"wasteful"}, .ratios = {0.1}});
  request.files = *ReadCompareFiles(std::vector<std::string>{data_}, 1);
  request.config = config;
  request.out_dir = folder_ + "/wasteful";
  const auto compared = Compare(std::move(request), *engine);
  ASSERT_FALSE(compared.ok());
  EXPECT_THAT(compared.error().message,
              AllOf(HasSubstr("row \"wasteful 0.1\" on needle"), HasSubstr("record 1"),
                    HasSubstr("the sparse path was not active"), HasSubstr("the budget is 4")));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/wasteful/store"));
}

}  // namespace
}  // namespace esa
