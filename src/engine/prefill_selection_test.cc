#include "engine/prefill_selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/random.h"
#include "esa/llm.h"
#include "model/test_data.h"
#include "ops/attention.h"

namespace esa {
namespace {

constexpr int kDim = 8;
constexpr int kGroup = 2;
constexpr std::int64_t kBlocks = 40;
constexpr KvGeometry kGeometry = {
    .num_layers = 1,
    .num_kv_heads = 2,
    .slice = {.block_tokens = 64, .head_dim = kDim, .dtype = KvDtype::kBf16}};
constexpr PrefillConfig kQuarter = {.attention = PrefillAttention::kSparse, .ratio = 0.25};

// All blocks described with small random keys; those of 16 tokens of `block` point along the first
// channel.
PrefillSelection SelectionWith(std::int64_t block, const PrefillConfig& config) {
  PrefillSelection selection(kGeometry, config, kBlocks);
  SplitMix64 random(3);
  const int tokens = kGeometry.slice.block_tokens;
  std::vector<float> keys(static_cast<std::size_t>(tokens * kDim));
  std::vector<std::byte> slice(static_cast<std::size_t>(kGeometry.slice.slice_bytes()));
  for (std::int64_t b = 0; b < kBlocks; ++b) {
    for (int head = 0; head < kGeometry.num_kv_heads; ++head) {
      for (float& x : keys) x = static_cast<float>(random.Below(100)) * 1e-3f;
      for (int t = 32; b == block && t < 48; ++t) keys[static_cast<std::size_t>(t * kDim)] = 5;
      AppendToSlice(kGeometry.slice, slice.data(), 0, tokens, keys.data(), keys.data(), kDim);
      selection.Describe(b, head, slice.data());
    }
  }
  return selection;
}

// Of queries of which the last alone looks along the first channel.
std::int64_t Select(const PrefillSelection& selection, std::int64_t position,
                    std::vector<BlockIndex>* blocks) {
  const int rows = selection.tile_tokens();
  std::vector<float> q(static_cast<std::size_t>(rows * kGroup * kDim), 0.01f);
  q[static_cast<std::size_t>((rows - 1) * kGroup * kDim)] = 10;
  return selection.Select({.q = q.data(),
                           .row_stride = kGroup * kDim,
                           .first_position = position,
                           .num_rows = rows,
                           .kv_head = 1,
                           .group = kGroup},
                          blocks);
}

TEST(PrefillSelectionTest, TakesTheFirstBlockThoseNearAndWhatOneQueryLooksFor) {
  for (const std::int64_t planted : {1, 7, 20, 28}) {
    const PrefillSelection selection = SelectionWith(planted, kQuarter);
    std::vector<BlockIndex> blocks;
    const std::int64_t near = Select(selection, 30 * 64 + 32, &blocks);
    EXPECT_EQ(near, 29) << "the block before the tile's own";
    EXPECT_EQ(blocks.size(), 1u + 7u) << "the first, and a quarter of 28";
    EXPECT_EQ(blocks.front(), 0);
    EXPECT_TRUE(std::is_sorted(blocks.begin(), blocks.end()));
    EXPECT_TRUE(std::binary_search(blocks.begin(), blocks.end(), planted)) << planted;
    EXPECT_LT(blocks.back(), near);
  }
}

TEST(PrefillSelectionTest, FewBlocksAreAllAttended) {
  const PrefillSelection selection = SelectionWith(3, kQuarter);
  std::vector<BlockIndex> blocks = {1, 2};
  EXPECT_EQ(Select(selection, 5 * 64, &blocks), 0);
  EXPECT_TRUE(blocks.empty());
  EXPECT_EQ(Select(selection, 0, &blocks), 0);
}

TEST(PrefillSelectionTest, DenseBlocksKeepTheirNames) {
  EXPECT_TRUE(ComputationMark({}).empty());
  EXPECT_NE(ComputationMark(kQuarter),
            ComputationMark({.attention = PrefillAttention::kSparse, .ratio = 0.5}));
  EXPECT_NE(ComputationMark(kQuarter),
            ComputationMark({.attention = PrefillAttention::kSparse, .ratio = 0.25 + 1e-9}));
}

constexpr int kBlockTokens = 16;

EngineConfig TestConfig(const PrefillConfig& prefill) {
  return {.model_dir = (GoldenData() / "llama_tied").string(),
          .block_tokens = kBlockTokens,
          .prefill = prefill,
          .prefill_chunk_tokens = 2 * kBlockTokens,
          .sparse = {.name = "dense"}};
}

std::vector<std::int32_t> SomeTokens(std::int64_t count) {
  SplitMix64 random(5);
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<std::int32_t>(random.Below(80)));
  }
  return tokens;
}

std::vector<float> LogitsOf(const EngineConfig& config, std::int64_t tokens) {
  auto llm = LLM::Open(config);
  EXPECT_TRUE(llm.ok()) << llm.error().message;
  auto logits = (*llm)->Logits(SomeTokens(tokens));
  EXPECT_TRUE(logits.ok()) << logits.error().message;
  return *std::move(logits);
}

TEST(SparsePrefillTest, OfAllBlocksIsDenseToTheBit) {
  const PrefillConfig all = {.attention = PrefillAttention::kSparse, .ratio = 1};
  EXPECT_EQ(LogitsOf(TestConfig(all), 700), LogitsOf(TestConfig({}), 700));
}

TEST(SparsePrefillTest, ATokenDependsOnItsPrefixAlone) {
  const std::vector<float> whole = LogitsOf(TestConfig(kQuarter), 700);
  EXPECT_NE(whole, LogitsOf(TestConfig({}), 700));
  EngineConfig one_thread = TestConfig(kQuarter);
  one_thread.threads = 1;
  EXPECT_EQ(LogitsOf(one_thread, 700), whole);
  for (const std::int64_t blocks : {20, 31, 43}) {
    const std::vector<float> prefix = LogitsOf(TestConfig(kQuarter), blocks * kBlockTokens);
    EXPECT_TRUE(std::equal(prefix.begin(), prefix.end(), whole.begin())) << blocks;
  }
}

RequestStats Answer(const EngineConfig& config, std::vector<std::int32_t>* generated) {
  auto llm = LLM::Open(config);
  EXPECT_TRUE(llm.ok()) << llm.error().message;
  Prompt prompt;
  prompt.token_ids = SomeTokens(700);
  auto done = (*llm)->Generate({&prompt, 1}, {.max_tokens = 20, .ignore_eos = true});
  EXPECT_TRUE(done.ok()) << done.error().message;
  *generated = done->front().token_ids;
  return done->front().stats;
}

TEST(SparsePrefillTest, BlocksServeRequestsThatAreComputedLikewiseAlone) {
  const TemporaryFolder folder;
  EngineConfig sparse = TestConfig(kQuarter);
  sparse.store.storage_backends = {folder.path().string()};
  EngineConfig dense = sparse;
  dense.prefill = {};
  std::vector<std::int32_t> cold, restored, other;
  const RequestStats first = Answer(sparse, &cold);
  EXPECT_EQ(first.restored_tokens, 0);
  EXPECT_LT(first.prefill_share, 0.6);
  EXPECT_GT(Answer(sparse, &restored).restored_tokens, 600);
  EXPECT_EQ(restored, cold);
  const RequestStats exact = Answer(dense, &other);
  EXPECT_EQ(exact.restored_tokens, 0);
  EXPECT_EQ(exact.prefill_share, 1);
}

}  // namespace
}  // namespace esa
