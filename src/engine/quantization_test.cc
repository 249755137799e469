// What weights in int8 and int4 cost, and KV in int8, against the same model with the weights it
// was stored with and KV in f32: mean Kullback-Leibler divergence of the next token's distribution,
// and how often the most probable token stays. Both ways of a product are measured: of many rows,
// where integers are widened, and of few, where activations are rounded too. docs/quantization.md
// has the figures.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "esa/llm.h"

namespace esa {
namespace {

struct Quality {
  double divergence = 0;  // nats, mean over positions
  double same_top = 0;    // part of the positions
};

std::unique_ptr<LLM> OpenModel(const std::string& folder, WeightType type, int block_tokens,
                               KvDtype kv_dtype = KvDtype::kF32) {
  EngineConfig config{.model_dir = folder};
  config.weights.type = type;
  config.kv_memory_bytes = 64u << 20;
  config.block_tokens = block_tokens;
  config.prefill_chunk_tokens = block_tokens;
  config.kv_dtype = kv_dtype;
  config.sparse = {.name = "dense"};
  auto llm = LLM::Open(config);
  EXPECT_TRUE(llm.ok()) << llm.error().message;
  return llm ? std::move(*llm) : nullptr;
}

std::vector<double> Softmax(const float* logits, std::size_t size) {
  const float largest = *std::max_element(logits, logits + size);
  std::vector<double> p(size);
  double sum = 0;
  for (std::size_t i = 0; i < size; ++i) sum += p[i] = std::exp(double{logits[i]} - largest);
  for (double& value : p) value /= sum;
  return p;
}

Quality Compare(const std::vector<float>& stored, const std::vector<float>& changed,
                std::size_t vocab) {
  Quality quality;
  const std::size_t positions = stored.size() / vocab;
  for (std::size_t t = 0; t < positions; ++t) {
    const auto p = Softmax(stored.data() + t * vocab, vocab);
    const auto q = Softmax(changed.data() + t * vocab, vocab);
    for (std::size_t i = 0; i < vocab; ++i) {
      if (p[i] > 0) quality.divergence += p[i] * std::log(p[i] / std::max(q[i], 1e-300));
    }
    const auto top = [](const std::vector<double>& x) {
      return std::max_element(x.begin(), x.end()) - x.begin();
    };
    quality.same_top += top(p) == top(q) ? 1 : 0;
  }
  quality.divergence /= static_cast<double>(positions);
  quality.same_top /= static_cast<double>(positions);
  return quality;
}

// Few rows at a time: blocks of eight tokens.
void CheckModel(const std::string& folder, const std::vector<std::int32_t>& tokens,
                double most_int8, double most_int4) {
  for (const int rows : {8, 64}) {
    const auto stored = OpenModel(folder, WeightType::kStored, rows);
    ASSERT_NE(stored, nullptr);
    const auto vocab = static_cast<std::size_t>(stored->vocab_size());
    const auto expected = stored->Logits(tokens);
    ASSERT_TRUE(expected.ok()) << expected.error().message;
    for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
      const auto llm = OpenModel(folder, type, rows);
      ASSERT_NE(llm, nullptr);
      const auto logits = llm->Logits(tokens);
      ASSERT_TRUE(logits.ok()) << logits.error().message;
      const Quality quality = Compare(*expected, *logits, vocab);
      const bool int8 = type == WeightType::kInt8;
      std::printf("%s, %s, %d rows: divergence %.6f, same token %.1f%%, %.0f%% of the bytes\n",
                  folder.c_str(), int8 ? "int8" : "int4", rows, quality.divergence,
                  100 * quality.same_top,
                  100.0 * static_cast<double>(llm->weight_bytes()) /
                      static_cast<double>(stored->weight_bytes()));
      EXPECT_LT(quality.divergence, int8 ? most_int8 : most_int4);
    }
  }
}

void CheckKv(const std::string& folder, const std::vector<std::int32_t>& tokens) {
  const auto exact = OpenModel(folder, WeightType::kStored, 64);
  ASSERT_NE(exact, nullptr);
  const auto expected = exact->Logits(tokens);
  ASSERT_TRUE(expected.ok()) << expected.error().message;
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kInt8}) {
    const auto llm = OpenModel(folder, WeightType::kStored, 64, dtype);
    ASSERT_NE(llm, nullptr);
    const auto logits = llm->Logits(tokens);
    ASSERT_TRUE(logits.ok()) << logits.error().message;
    const Quality quality =
        Compare(*expected, *logits, static_cast<std::size_t>(llm->vocab_size()));
    std::printf("%s, KV in %s: divergence %.6f, same token %.1f%%, %.0f%% of f32's bytes\n",
                folder.c_str(), dtype == KvDtype::kBf16 ? "bf16" : "int8", quality.divergence,
                100 * quality.same_top,
                100.0 * static_cast<double>(llm->kv_bytes_per_token()) /
                    static_cast<double>(exact->kv_bytes_per_token()));
    EXPECT_LT(quality.divergence, dtype == KvDtype::kBf16 ? 1e-3 : 5e-3);
  }
}

TEST(QuantizationTest, EmbeddedModel) {
  const std::string folder = ESA_SOURCE_DIR "/models/esa-needle";
  const auto llm = OpenModel(folder, WeightType::kStored, 64);
  ASSERT_NE(llm, nullptr);
  const Prompt prompt{.prompt = "The museum in the old town opens at nine."};
  const auto done =
      llm->Generate({&prompt, 1}, {.max_tokens = 400, .temperature = 1, .ignore_eos = true});
  ASSERT_TRUE(done.ok()) << done.error().message;
  CheckModel(folder, done->front().token_ids, 1e-3, 0.1);
  CheckKv(folder, done->front().token_ids);
}

TEST(QuantizationTest, Stories260K) {
  const char* named = std::getenv("ESA_TEST_DATA");
  const std::filesystem::path folder =
      std::filesystem::path(named != nullptr ? named : ESA_SOURCE_DIR "/../shared/data") /
      "checkpoints/stories260K";
  std::ifstream file(folder / "golden_greedy_ids.txt");
  if (!file) GTEST_SKIP() << "no " << folder;
  std::vector<std::int32_t> tokens;
  for (std::int32_t token; file >> token;) tokens.push_back(token);
  CheckModel(folder / "hf_converted", tokens, 1e-3, 0.1);
  CheckKv(folder / "hf_converted", tokens);
}

}  // namespace
}  // namespace esa
