// The door of the library on the golden models: batches, greedy tokens, and answers from a store
// whose files were damaged between two engines.
#include "esa/llm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>

#include "base/random.h"
#include "engine/testing/faulty_store.h"
#include "model/safetensors.h"
#include "model/test_data.h"

namespace esa {
namespace {

constexpr int kBlockTokens = 16;
constexpr std::uint64_t kSliceBytes = 4096;

EngineConfig TestConfig(const std::filesystem::path& model = GoldenData() / "llama_tied") {
  return {.model_dir = model.string(),
          .block_tokens = kBlockTokens,
          .prefill_chunk_tokens = 2 * kBlockTokens};
}

std::unique_ptr<LLM> Open(const EngineConfig& config) {
  auto llm = LLM::Open(config);
  EXPECT_TRUE(llm.ok()) << llm.error().message;
  return *std::move(llm);
}

// Ids that every golden model has.
Prompt RandomPrompt(std::int64_t tokens, std::uint64_t seed) {
  SplitMix64 random(seed);
  Prompt prompt;
  for (std::int64_t i = 0; i < tokens; ++i) {
    prompt.token_ids.push_back(static_cast<std::int32_t>(random.Below(80)));
  }
  return prompt;
}

Completion Answer(LLM& llm, const Prompt& prompt, const SamplingParams& params) {
  auto done = llm.Generate({&prompt, 1}, params);
  EXPECT_TRUE(done.ok()) << done.error().message;
  return done ? done->front() : Completion{};
}

TEST(LlmTest, ABatchAnswersAsItsPromptsDoOneByOne) {
  // Lengths on both sides of a block's end and of ESA's bound between dense and sparse; more of
  // them than one batch takes.
  const std::int64_t lengths[] = {1, 15, 16, 17, 63, 64, 65, 160, 333};
  for (const char* algorithm : {"dense", "ESA"}) {
    EngineConfig config = TestConfig();
    config.sparse.name = algorithm;
    const auto llm = Open(config);
    std::vector<Prompt> prompts;
    for (std::uint64_t seed = 0; seed < 2; ++seed) {
      for (std::int64_t length : lengths) prompts.push_back(RandomPrompt(length, 7 * seed + 1));
    }
    const SamplingParams params{.max_tokens = 40, .temperature = 0.0, .ignore_eos = true};
    const auto batch = llm->Generate(prompts, params);
    ASSERT_TRUE(batch.ok()) << batch.error().message;
    ASSERT_EQ(batch->size(), prompts.size());
    bool sparse = false;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const Completion alone = Answer(*llm, prompts[i], params);
      EXPECT_EQ((*batch)[i].token_ids, alone.token_ids) << algorithm << ", prompt " << i;
      EXPECT_EQ((*batch)[i].token_ids.size(), 40u);
      EXPECT_EQ((*batch)[i].stats.sparse, alone.stats.sparse);
      sparse |= alone.stats.sparse;
    }
    EXPECT_EQ(sparse, config.sparse.name == "ESA");
  }
}

TEST(LlmTest, ABatchWhoseBlocksGoToDiskAnswersAsItsPromptsDoOneByOne) {
  EngineConfig config = TestConfig();
  config.sparse = {.name = "ESA", .options = {{"sparse_ratio", 0.1}}};
  // Memory for what ESA keeps of three prompts, of four not for half of their KV.
  config.kv_memory_bytes = 300 * kSliceBytes;
  const auto llm = Open(config);
  std::vector<Prompt> prompts;
  for (std::uint64_t seed = 0; seed < 4; ++seed) prompts.push_back(RandomPrompt(960, seed));
  const SamplingParams params{.max_tokens = 40, .ignore_eos = true};
  const auto batch = llm->Generate(prompts, params);
  ASSERT_TRUE(batch.ok()) << batch.error().message;
  ASSERT_EQ(batch->size(), prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const Completion alone = Answer(*llm, prompts[i], params);
    EXPECT_EQ((*batch)[i].token_ids, alone.token_ids) << i;
    EXPECT_GT((*batch)[i].stats.dumped_bytes, 0u) << i;
    EXPECT_EQ((*batch)[i].stats.failed_loads, 0) << i;
    EXPECT_TRUE((*batch)[i].stats.sparse);
  }
}

TEST(LlmTest, SequencesThatEndEarlyDoNotDisturbTheirBatch) {
  const auto llm = Open(TestConfig());
  std::vector<Prompt> prompts;
  for (std::uint64_t i = 0; i < 12; ++i) prompts.push_back(RandomPrompt(40, i));
  // So hot that any token may come next, the end token too: of some seed the first goes on to the
  // limit while others end.
  SamplingParams params{.max_tokens = 100, .temperature = 100.0};
  std::vector<Completion> batch;
  const auto mixed = [&] {
    return !batch.empty() && batch[0].finish_reason == "length" &&
           std::ranges::count(batch, "stop", &Completion::finish_reason) > 0;
  };
  for (; params.seed < 50 && !mixed(); ++params.seed) {
    auto done = llm->Generate(prompts, params);
    ASSERT_TRUE(done.ok()) << done.error().message;
    batch = *std::move(done);
  }
  ASSERT_TRUE(mixed());
  --params.seed;
  // A sampler draws by its seed and its place in the batch: only the first is the same alone.
  EXPECT_EQ(Answer(*llm, prompts[0], params).token_ids, batch[0].token_ids);
}

std::vector<std::filesystem::path> BlockFiles(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const bool quarantined = entry.path().parent_path().filename() == "quarantine";
    if (!quarantined && entry.path().extension() == ".block") files.push_back(entry.path());
  }
  return files;
}

void FlipBit(const std::filesystem::path& path, std::uint64_t bytes_from_end) {
  std::string bytes = ReadBytes(path);
  char& byte = bytes[bytes.size() - bytes_from_end];
  byte = static_cast<char>(byte ^ 0x10);
  std::ofstream(path, std::ios::binary) << bytes;
}

// Where a block file is damaged.
struct DamagedArea {
  std::uint64_t area_from_end;  // bytes from the file's end to the area's begin
  const char* name;
};

void PrintTo(const DamagedArea& area, std::ostream* os) { *os << area.name; }

class DamagedStoreTest : public testing::TestWithParam<DamagedArea> {
 protected:
  static constexpr std::int64_t kPromptBlocks = 10;

  EngineConfig Config(const char* algorithm, std::uint64_t kv_slots) const {
    EngineConfig config = TestConfig();
    config.sparse.name = algorithm;
    config.kv_memory_bytes = kv_slots * kSliceBytes;
    config.store.storage_backends = {folder_.path().string()};
    config.store.pack_below_bytes = 0;
    return config;
  }

  Completion Run(const char* algorithm, std::uint64_t kv_slots = 1000) const {
    return Answer(*Open(Config(algorithm, kv_slots)), prompt_, params_);
  }

  std::vector<std::filesystem::path> BlockFiles() const { return esa::BlockFiles(folder_.path()); }

  static void Damage(const std::filesystem::path& file) {
    FlipBit(file, GetParam().area_from_end - 5);
  }

  // The file of one block at a time; the next answer is the same and makes the file whole again.
  void DamageEachFileInTurn(const char* algorithm, std::uint64_t kv_slots) {
    const Completion first = Run(algorithm, kv_slots);
    ASSERT_EQ(first.stats.restored_tokens, 0);
    const auto files = BlockFiles();
    ASSERT_EQ(files.size(), static_cast<std::size_t>(kPromptBlocks));
    std::vector<std::int64_t> restored;
    for (const auto& file : files) {
      Damage(file);
      const Completion second = Run(algorithm, kv_slots);
      EXPECT_EQ(second.token_ids, first.token_ids) << file;
      EXPECT_FALSE(second.stats.degraded) << file;
      EXPECT_EQ(BlockFiles().size(), files.size()) << "computed again, it is stored again";
      restored.push_back(second.stats.restored_tokens);
    }
    // As far as the damaged block, in whole chunks of two blocks: 0, 0, 2, 2 ... blocks.
    std::ranges::sort(restored);
    for (std::int64_t block = 0; block < kPromptBlocks; ++block) {
      EXPECT_EQ(restored[static_cast<std::size_t>(block)], block / 2 * 2 * kBlockTokens);
    }
    EXPECT_EQ(Run(algorithm, kv_slots).stats.restored_tokens, kPromptBlocks * kBlockTokens);
  }

  TemporaryFolder folder_;
  const Prompt prompt_ = RandomPrompt(kPromptBlocks * kBlockTokens + 5, 11);
  const SamplingParams params_{.max_tokens = 40, .ignore_eos = true};
};

TEST_P(DamagedStoreTest, DenseAnswersAsBefore) { DamageEachFileInTurn("dense", 1000); }

TEST_P(DamagedStoreTest, EsaAnswersAsBefore) { DamageEachFileInTurn("ESA", 1000); }

TEST_P(DamagedStoreTest, EsaAnswersAsBeforeWithLittleMemory) { DamageEachFileInTurn("ESA", 14); }

TEST_P(DamagedStoreTest, ManyDamagedFilesAreComputedAgain) {
  const Completion first = Run("ESA");
  for (const auto& file : BlockFiles()) Damage(file);
  const Completion second = Run("ESA");
  EXPECT_EQ(second.token_ids, first.token_ids);
  EXPECT_EQ(second.stats.restored_tokens, 0);
}

INSTANTIATE_TEST_SUITE_P(Areas, DamagedStoreTest,
                         testing::Values(DamagedArea{2 * kSliceBytes, "FirstSlice"},
                                         DamagedArea{kSliceBytes, "LastSlice"},
                                         DamagedArea{3 * kSliceBytes, "Representations"},
                                         DamagedArea{4 * kSliceBytes, "Head"}),
                         [](const auto& test) { return test.param.name; });

// Each attempt to restore gets one part further and finds the next damaged block, until the engine
// computes all.
// Whatever the store does with the blocks, the answers are those of the first run.
class StoreSettingsTest : public testing::Test {
 protected:
  Completion Run(const StoreConfig& store, std::uint64_t kv_slots) {
    EngineConfig config = TestConfig();
    config.sparse.name = "ESA";
    config.kv_memory_bytes = kv_slots * kSliceBytes;
    config.store = store;
    config.store.storage_backends = {folder_.path().string()};
    config.store.pack_below_bytes = 0;
    return Answer(*Open(config), RandomPrompt(10 * kBlockTokens + 5, 11),
                  {.max_tokens = 40, .ignore_eos = true});
  }

  TemporaryFolder folder_;
};

TEST_F(StoreSettingsTest, SecondTouchStoresWhatIsAskedTwice) {
  StoreConfig store;
  store.second_touch = true;
  const Completion first = Run(store, 1000);
  EXPECT_TRUE(BlockFiles(folder_.path()).empty());
  EXPECT_EQ(Run(store, 1000).token_ids, first.token_ids);
  EXPECT_EQ(BlockFiles(folder_.path()).size(), 10u);
  const Completion third = Run(store, 1000);
  EXPECT_EQ(third.token_ids, first.token_ids);
  EXPECT_EQ(third.stats.restored_tokens, 10 * kBlockTokens);
}

TEST_F(StoreSettingsTest, WhatDoesNotFitInMemoryIsStoredAtTheFirstTouch) {
  const Completion first = Run({}, 1000);
  std::filesystem::remove_all(folder_.path());
  StoreConfig store;
  store.second_touch = true;
  const Completion spilled = Run(store, 14);
  EXPECT_EQ(spilled.token_ids, first.token_ids);
  EXPECT_FALSE(spilled.stats.degraded);
  EXPECT_FALSE(BlockFiles(folder_.path()).empty());
}

TEST_F(StoreSettingsTest, AStackAndAKeyChangeNoAnswer) {
  const Completion plain = Run({}, 14);
  StoreConfig stack;
  stack.backend = "memory|posix";
  stack.memory_bytes = 1 << 20;
  for (int i = 0; i < 2; ++i) {
    const Completion stacked = Run(stack, 14);
    EXPECT_EQ(stacked.token_ids, plain.token_ids);
    EXPECT_EQ(stacked.stats.restored_tokens, 10 * kBlockTokens);
  }
  StoreConfig encrypted;
  encrypted.encryption_key_file = folder_.path().string() + ".key";
  std::ofstream(encrypted.encryption_key_file) << std::string(64, 'c');
  std::filesystem::permissions(
      encrypted.encryption_key_file,
      std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  // Blocks of before are foreign: computed, and stored anew.
  const Completion sealed = Run(encrypted, 14);
  EXPECT_EQ(sealed.token_ids, plain.token_ids);
  EXPECT_EQ(sealed.stats.restored_tokens, 0);
  const Completion opened = Run(encrypted, 14);
  EXPECT_EQ(opened.token_ids, plain.token_ids);
  EXPECT_EQ(opened.stats.restored_tokens, 10 * kBlockTokens);
  std::filesystem::remove(encrypted.encryption_key_file);
}

TEST(RestoreTest, DamageFoundPieceByPieceIsComputedAgain) {
  constexpr std::uint64_t kSlices = 4;  // of a block of this model
  constexpr std::int64_t kPromptBlocks = 14;
  TemporaryFolder folder;
  EngineConfig config = TestConfig(GoldenData() / "qwen2_untied");
  config.store.storage_backends = {folder.path().string()};
  config.store.pack_below_bytes = 0;
  const SamplingParams params{.max_tokens = 20, .ignore_eos = true};
  const Prompt prompt = RandomPrompt(kPromptBlocks * kBlockTokens + 1, 13);
  std::vector<std::filesystem::path> files;  // by block
  Completion first;
  for (std::int64_t blocks = 1; blocks <= kPromptBlocks; ++blocks) {
    const auto tokens = static_cast<std::size_t>(blocks * kBlockTokens + 1);
    first = Answer(*Open(config),
                   {.token_ids = {prompt.token_ids.begin(), prompt.token_ids.begin() + tokens}},
                   params);
    for (const auto& file : BlockFiles(folder.path())) {
      if (std::ranges::count(files, file) == 0) files.push_back(file);
    }
    ASSERT_EQ(std::ssize(files), blocks);
  }
  // Representations are read first, then the slices in their order.
  for (std::uint64_t part = 0; part <= kSlices; ++part) {
    FlipBit(files[12 - 2 * part], (kSlices + 1 - part) * kSliceBytes);
  }
  const Completion second = Answer(*Open(config), prompt, params);
  EXPECT_EQ(second.token_ids, first.token_ids);
  EXPECT_EQ(second.stats.restored_tokens, 0);
  EXPECT_FALSE(second.stats.degraded);
}

// The memory store behind an LLM, within a test's reach.
class FaultyStoreTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const BlockStoreFactory factory =
        [](const StoreConfig&, const BlockLayout& layout) -> Result<std::unique_ptr<BlockStore>> {
      auto inner = CreateBlockStore({.backend = "memory"}, layout);
      if (!inner) return inner.error();
      auto store = std::make_unique<FaultyStore>(*std::move(inner));
      opened_ = store.get();
      return std::unique_ptr<BlockStore>(std::move(store));
    };
    static const bool registered = RegisterBlockStore("faulty_memory", factory).ok();
    ASSERT_TRUE(registered);
  }

  FaultyStoreTest() {
    EngineConfig config = TestConfig();
    config.store.backend = "faulty_memory";
    llm_ = Open(config);
  }
  Completion Run() { return Answer(*llm_, prompt_, {.max_tokens = 20, .ignore_eos = true}); }

  static inline FaultyStore* opened_ = nullptr;  // of llm_
  std::unique_ptr<LLM> llm_;
  const Prompt prompt_ = RandomPrompt(10 * kBlockTokens + 5, 12);
};

TEST_F(FaultyStoreTest, APromptThatCannotBeReadIsComputed) {
  const Completion first = Run();
  opened_->fail_loads = true;
  const Completion second = Run();
  EXPECT_EQ(second.token_ids, first.token_ids);
  EXPECT_EQ(second.stats.restored_tokens, 0);
  EXPECT_FALSE(second.stats.degraded);
  opened_->fail_loads = false;
  EXPECT_EQ(Run().stats.restored_tokens, 10 * kBlockTokens) << "it was not the blocks' fault";
}

TEST_F(FaultyStoreTest, NothingIsRestoredWithoutItsRepresentations) {
  const Completion first = Run();
  opened_->fail_representations = true;
  const Completion second = Run();
  EXPECT_EQ(second.token_ids, first.token_ids);
  EXPECT_EQ(second.stats.restored_tokens, 0);
}

TEST_F(FaultyStoreTest, AStoreThatHangsCostsTheRestoreNotTheAnswer) {
  const Completion first = Run();
  opened_->hang = true;
  const Completion second = Run();
  EXPECT_EQ(second.token_ids, first.token_ids);
  EXPECT_EQ(opened_->cancelled_tasks(), 1) << "what hung once is not waited for again";
}

TEST_F(FaultyStoreTest, ABlockThatCouldNotBeStoredIsStoredTheNextTime) {
  opened_->fail_dumps = true;
  const Completion first = Run();
  EXPECT_GT(first.stats.failed_dumps, 0);
  EXPECT_FALSE(first.stats.store_error.empty());
  opened_->fail_dumps = false;
  const Completion second = Run();
  EXPECT_EQ(second.stats.failed_dumps, 0);
  const Completion third = Run();
  EXPECT_EQ(third.stats.restored_tokens, 10 * kBlockTokens);
  EXPECT_EQ(second.token_ids, first.token_ids);
  EXPECT_EQ(third.token_ids, first.token_ids);
}

struct Argmax {
  std::int32_t id;
  float lead;  // over the second
};

Argmax ArgmaxOf(std::span<const float> logits) {
  std::vector<float> sorted(logits.begin(), logits.end());
  std::ranges::nth_element(sorted, sorted.begin() + 1, std::greater());
  const auto best = std::ranges::max_element(logits);
  return {static_cast<std::int32_t>(best - logits.begin()), *best - sorted[1]};
}

class GreedyTest : public testing::TestWithParam<const char*> {};

// The golden files have logits, no generated text: the argmax after each prefix is the token that
// greedy generation continues it with.
TEST_P(GreedyTest, ContinuesEveryPrefixAsTransformersDoes) {
  const std::filesystem::path folder = GoldenData() / GetParam();
  auto file = SafetensorsFile::Open(folder / "golden.safetensors");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const auto id_bytes = file->tensors().at("token_ids").bytes;
  const auto logit_bytes = file->tensors().at("logits").bytes;
  std::vector<std::int32_t> ids(id_bytes.size() / sizeof(std::int32_t));
  std::vector<float> logits(logit_bytes.size() / sizeof(float));
  std::memcpy(ids.data(), id_bytes.data(), id_bytes.size());
  std::memcpy(logits.data(), logit_bytes.data(), logit_bytes.size());
  EngineConfig config = TestConfig(folder);
  config.kv_dtype = KvDtype::kF32;
  const auto llm = Open(config);
  const auto vocab = static_cast<std::size_t>(llm->vocab_size());
  std::size_t compared = 0;
  for (std::size_t length = 1; length <= ids.size(); ++length) {
    const Argmax expected = ArgmaxOf(std::span(logits).subspan((length - 1) * vocab, vocab));
    if (expected.lead < 1e-3f) continue;  // rounding decides
    const Prompt prompt{.token_ids = {ids.begin(), ids.begin() + static_cast<long>(length)}};
    const Completion answer = Answer(*llm, prompt, {.max_tokens = 1, .ignore_eos = true});
    EXPECT_EQ(answer.token_ids, std::vector{expected.id}) << "after " << length << " tokens";
    ++compared;
  }
  EXPECT_GT(compared, ids.size() / 2);
}

INSTANTIATE_TEST_SUITE_P(Transformers, GreedyTest,
                         testing::Values("llama_tied", "llama_llama3_rope", "qwen2_gqa7",
                                         "qwen2_untied", "qwen3_bias_untied"),
                         [](const auto& test) { return test.param; });

TEST(StoriesTest, GreedyTokensEqualLlama2c) {
  const std::filesystem::path folder = SharedData() / "checkpoints/stories260K";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  std::ifstream ids_file(folder / "golden_greedy_ids.txt");
  const std::vector<std::int32_t> ids{std::istream_iterator<std::int32_t>(ids_file), {}};
  ASSERT_EQ(ids.size(), 201u);
  const std::vector<std::int32_t> expected(ids.begin() + 1, ids.end());
  EngineConfig config = TestConfig(folder / "hf_converted");
  config.sparse.name = "dense";
  for (const KvDtype dtype : {KvDtype::kF32, KvDtype::kBf16}) {
    config.kv_dtype = dtype;
    const Completion answer =
        Answer(*Open(config), {.token_ids = {ids[0]}}, {.max_tokens = 200, .ignore_eos = true});
    EXPECT_EQ(answer.token_ids, expected) << (dtype == KvDtype::kF32 ? "f32" : "bf16");
  }
}

}  // namespace
}  // namespace esa
