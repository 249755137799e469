// `esa bench` and `esa plan` on a tiny golden model: what they report adds up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "cli/testing/cli_fixture.h"

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kModel = " --model " ESA_SOURCE_DIR "/tests/golden/llama_tied";

TEST_F(Cli, BenchMeasuresEveryDepthWeightTypeAndAlgorithm) {
  const Outcome outcome =
      Run("bench" + kModel +
          " --depths 0,512 --block-tokens 16 --weights stored,int8 --prompt 64 --decode 8"
          " --rounds 2 --batch 3 --prefill sparse --fake-kv --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json.at("batch"), 3);
  EXPECT_EQ(json.at("prefill"), "sparse");
  EXPECT_GT(json.at("ceilings").at("read_bytes_per_second"), 1e8);
  ASSERT_EQ(json.at("rows").size(), 8u);
  const double kv = json.at("kv_bytes_per_token");
  for (const auto& row : json.at("rows")) {
    EXPECT_GT(row.at("decode_tokens_per_second"), 0) << row;
    EXPECT_GT(row.at("prefill_tokens_per_second"), 0) << row;
    const double attended = row.at("attended_bytes_per_step");
    const double all = 3 * kv * (row.at("depth").get<double>() + 32);
    EXPECT_LE(attended, all) << row;
    if (row.at("sparse") == "dense") {
      EXPECT_EQ(row.at("loaded_bytes_per_step"), 0) << row;
      EXPECT_GE(attended, 3 * kv * row.at("depth").get<double>()) << row;
    } else if (row.at("depth") == 512) {
      EXPECT_LT(attended, all / 2) << row;
    }
  }
}

TEST_F(Cli, BenchSaysWhatItExpected) {
  EXPECT_THAT(ErrorOf("bench" + kModel + " --depths 100 --fake-kv", 2),
              AllOf(HasSubstr("100"), HasSubstr("--block-tokens")));
  EXPECT_THAT(ErrorOf("bench" + kModel + " --sparse guess", 2), HasSubstr("guess"));
  EXPECT_THAT(ErrorOf("bench" + kModel + " --prefill some", 2), HasSubstr("--prefill"));
  EXPECT_THAT(ErrorOf("bench", 2), HasSubstr("no model"));
}

TEST_F(Cli, PlanSaysWhatAModelNeeds) {
  const auto plan = [&](const std::string& flags) {
    const Outcome outcome = Run("plan" + kModel + " --json " + flags);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  };
  const auto small = plan("--context 4096");
  const auto large = plan("--context 8192");
  EXPECT_EQ(large.at("kv_bytes").get<double>(), 2 * small.at("kv_bytes").get<double>());
  EXPECT_GT(large.at("prefill_seconds"), small.at("prefill_seconds"));
  EXPECT_LT(plan("--context 4096 --weights int8").at("weight_bytes"), small.at("weight_bytes"));
}

}  // namespace
}  // namespace esa
