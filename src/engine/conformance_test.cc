// The invariants of every sparse attention algorithm: the tests walk the registry, so a new
// algorithm is held to them by being registered.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "engine/testing/engine_fixture.h"

namespace esa {
namespace {

constexpr int kSteps = 2 * kTestBlockTokens + 5;

// Options under which an algorithm's budget covers any context; none: it has no such options.
Options CoveringOptions(const std::string& name) {
  if (name == "streaming") return {{"local_window_sz", std::int64_t{1000}}};
  if (name == "dense") return {};
  return {{"sparse_ratio", 1.0}};
}

bool SameBits(const EngineRun& a, const EngineRun& b) {
  if (a.logits.size() != b.logits.size()) return false;
  for (std::size_t i = 0; i < a.logits.size(); ++i) {
    if (std::memcmp(a.logits[i].data(), b.logits[i].data(), a.logits[i].size() * sizeof(float))) {
      return false;
    }
  }
  return true;
}

class AlgorithmTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("esa_conformance_" + GetParam() + "_" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  EngineSetup OnDisk(std::int64_t pool_blocks) const {
    return {.algorithm = GetParam(),
            .pool_blocks = pool_blocks,
            .store = "posix",
            .folder = folder_.string()};
  }

  std::filesystem::path folder_;
};

// Steps that neither begin a block nor select, once buffers have their size; ESA and its like
// select every fifth.
TEST(DecodeStepTest, AllocatesNothingBetweenSelections) {
  for (const char* name : {"dense", "streaming", "ESA", "Hash", "MeanStd", "Quest"}) {
    const auto run = RunEngine({.algorithm = name}, 40 * kTestBlockTokens, kTestBlockTokens);
    ASSERT_TRUE(run.ok()) << run.error().message;
    const bool selects = std::string(name) != "dense" && std::string(name) != "streaming";
    for (std::size_t step = 2; step < run->allocations.size() - 1; ++step) {
      if (selects && (step + 1) % 5 == 0) continue;
      EXPECT_EQ(run->allocations[step], 0) << name << ", step " << step + 1;
    }
  }
}

TEST_P(AlgorithmTest, EndsCleanlyAtEveryPromptLength) {
  const int b = kTestBlockTokens;
  for (std::int64_t prompt : {1, 3, b - 1, b, b + 1, 3 * b, 8 * b - 1, 8 * b, 8 * b + 1, 20 * b}) {
    const auto run = RunEngine({.algorithm = GetParam()}, prompt, kSteps);
    ASSERT_TRUE(run.ok()) << run.error().message;
    EXPECT_EQ(run->logits.size(), static_cast<std::size_t>(kSteps) + 1);
    EXPECT_EQ(run->slots_left, 0) << "prompt of " << prompt;
    EXPECT_FALSE(run->stats.degraded);
  }
}

TEST_P(AlgorithmTest, CoveringBudgetIsDenseToTheBit) {
  for (std::int64_t prompt :
       {8 * kTestBlockTokens - 1, 8 * kTestBlockTokens, 20 * kTestBlockTokens + 1}) {
    const auto dense = RunEngine({}, prompt, kSteps);
    const auto covering = RunEngine(
        {.algorithm = GetParam(), .options = CoveringOptions(GetParam())}, prompt, kSteps);
    ASSERT_TRUE(dense.ok() && covering.ok());
    EXPECT_TRUE(SameBits(*dense, *covering)) << "prompt of " << prompt;
    EXPECT_FALSE(covering->stats.sparse);
  }
}

TEST_P(AlgorithmTest, CoveringBudgetFromDiskIsDenseToTheBit) {
  const std::int64_t prompt = 20 * kTestBlockTokens + 1;
  const auto dense = RunEngine({}, prompt, kSteps);
  EngineSetup setup = OnDisk(15);
  setup.options = CoveringOptions(GetParam());
  const auto covering = RunEngine(setup, prompt, kSteps);
  ASSERT_TRUE(covering.ok()) << covering.error().message;
  EXPECT_TRUE(SameBits(*dense, *covering));
  EXPECT_GT(covering->stats.loaded_bytes, 0u);
}

TEST_P(AlgorithmTest, TierDoesNotChangeTheAnswer) {
  const std::int64_t prompt = 30 * kTestBlockTokens + 5;
  const auto memory = RunEngine({.algorithm = GetParam()}, prompt, kSteps);
  const auto cold = RunEngine(OnDisk(18), prompt, kSteps);
  const auto restored = RunEngine(OnDisk(18), prompt, kSteps);
  ASSERT_TRUE(memory.ok());
  ASSERT_TRUE(cold.ok()) << cold.error().message;
  ASSERT_TRUE(restored.ok()) << restored.error().message;
  EXPECT_TRUE(SameBits(*memory, *cold));
  EXPECT_TRUE(SameBits(*memory, *restored));
  EXPECT_EQ(cold->stats.restored_tokens, 0);
  EXPECT_GT(restored->stats.restored_tokens, 0);
  EXPECT_EQ(restored->slots_left, 0);
}

TEST_P(AlgorithmTest, FailedLoadsAreLeftOutAndReported) {
  EngineSetup setup = OnDisk(16);
  setup.fail_loads = true;
  const auto run = RunEngine(setup, 30 * kTestBlockTokens + 5, kSteps);
  ASSERT_TRUE(run.ok()) << run.error().message;
  EXPECT_EQ(run->stats.degraded, run->stats.failed_loads > 0);
  EXPECT_TRUE(run->stats.degraded || GetParam() != "dense");
  EXPECT_EQ(run->slots_left, 0);
}

TEST_P(AlgorithmTest, UnknownOptionIsNamed) {
  const auto made = CreateSparseAttention(GetParam(), {{"no_such_key", std::int64_t{1}}});
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.error().message.find("no_such_key"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Registry, AlgorithmTest, testing::ValuesIn(SparseAttentionNames()),
                         [](const auto& test) { return test.param; });

// Whatever the budget: the answer of an unlimited one, or an error, never a part of the context.
TEST(EngineLimits, DenseAttentionFitsOrIsRefused) {
  constexpr std::int64_t kPrompt = 30 * kTestBlockTokens - 3;
  constexpr int kManySteps = 20;
  const auto whole = RunEngine({}, kPrompt, kManySteps);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  int answered = 0;
  for (std::int64_t blocks = 10; blocks < 20; ++blocks) {
    const auto run = RunEngine({.pool_blocks = blocks, .store = "memory"}, kPrompt, kManySteps);
    if (!run) {
      EXPECT_EQ(run.error().code, ErrorCode::kResourceExhausted) << blocks;
      continue;
    }
    ++answered;
    EXPECT_FALSE(run->stats.degraded) << blocks;
    EXPECT_EQ(run->logits, whole->logits) << blocks;
  }
  EXPECT_GT(answered, 0);
  EXPECT_LT(answered, 10);
}

TEST(PrefillTest, OneLayerThatDoesNotFitIsAnErrorWithNumbers) {
  const auto run = RunEngine({.pool_blocks = 4}, 20 * kTestBlockTokens, 1);
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(run.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(run.error().message.find("320 tokens"), std::string::npos) << run.error().message;
}

TEST(EsaTest, AttendsToFewerBlocksAndReusesThem) {
  const auto run = RunEngine({.algorithm = "ESA"}, 30 * kTestBlockTokens, 12);
  ASSERT_TRUE(run.ok());
  EXPECT_TRUE(run->stats.sparse);
  EXPECT_GT(run->stats.selections, 0);
}

}  // namespace
}  // namespace esa
