// The real tokenizers of the shared test data against ids that others published.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "model/tokenizer.h"
#include "model/tokenizer_test_fixture.h"

namespace esa {
namespace {

using Ids = std::vector<std::int32_t>;
using Json = nlohmann::json;
using testing::SharedData;

struct RealTokenizer {
  const char* folder;
  const char* vectors;
};

class RealTokenizerTest : public ::testing::TestWithParam<RealTokenizer> {};

TEST_P(RealTokenizerTest, ReproducesTheVectors) {
  const auto data = SharedData() / "tokenizer";
  ESA_SKIP_WITHOUT(data / GetParam().vectors);
  const auto tokenizer = Tokenizer::Load(data / GetParam().folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  std::ifstream lines(data / GetParam().vectors);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Json row = Json::parse(line);
    const Ids ids =
        (*tokenizer)->Encode(row["text"].get<std::string>(), {.add_special_tokens = false});
    EXPECT_EQ(ids, row["ids"].get<Ids>()) << line;
  }
  EXPECT_GT(count, 20);
}

// Threads share one tokenizer; every text comes back, and each thread gets the same ids.
TEST_P(RealTokenizerTest, RoundTripsFromManyThreads) {
  const auto data = SharedData() / "tokenizer";
  ESA_SKIP_WITHOUT(data / GetParam().folder);
  const auto loaded = Tokenizer::Load(data / GetParam().folder);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const Tokenizer& tokenizer = **loaded;
  const std::string text =
      "The 1234 lazy dogs'll \t\n\n  jump — 你好，世界！🦙🚀 привет\u3000x^2 == "
      "3.14; "
      " ";
  const Ids expected = tokenizer.Encode(text, {.add_special_tokens = false});
  EXPECT_EQ(tokenizer.Decode(expected), text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        EXPECT_EQ(tokenizer.Encode(text, {.add_special_tokens = false}), expected);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

INSTANTIATE_TEST_SUITE_P(Models, RealTokenizerTest,
                         ::testing::Values(RealTokenizer{"qwen2.5", "qwen_vectors.jsonl"},
                                           RealTokenizer{"llama3", "llama3_vectors.jsonl"}),
                         [](const auto& test) {
                           return std::string(test.param.folder).substr(0, 4);
                         });

TEST(LlamaTokenizerTest, BeginsAText) {
  const auto folder = SharedData() / "tokenizer/llama3";
  ESA_SKIP_WITHOUT(folder);
  const auto tokenizer = Tokenizer::Load(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->Encode("").at(0), 128000);
  EXPECT_EQ((*tokenizer)->vocab_size(), 128256);
}

TEST(QwenTokenizerTest, NamesItsEnd) {
  const auto folder = SharedData() / "tokenizer/qwen2.5";
  ESA_SKIP_WITHOUT(folder);
  const auto tokenizer = Tokenizer::Load(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->eos_id(), 151645);
  EXPECT_EQ((*tokenizer)->bos_id(), std::nullopt);
  EXPECT_EQ((*tokenizer)->vocab_size(), 151665);
}

}  // namespace
}  // namespace esa
