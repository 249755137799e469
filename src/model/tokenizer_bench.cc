// Loading and encoding with the real tokenizers of the shared test data; without it, an error line.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "model/tokenizer.h"

namespace esa {
namespace {

std::filesystem::path Folder(const std::string& model) {
  const char* data = std::getenv("ESA_TEST_DATA");
  return std::filesystem::path(data != nullptr ? data : "../shared/data") / "tokenizer" / model;
}

std::string English(std::size_t bytes) {
  static constexpr const char* kWords[] = {"the",  "selection", "of",      "blocks", "attends",
                                           "to",   "1984",      "tokens,", "and",    "it's",
                                           "fast", "retrieval", "memory.", "\n\n",   "KV"};
  std::mt19937 random(1);
  std::string text;
  while (text.size() < bytes) text.append(kWords[random() % std::size(kWords)]).append(" ");
  return text;
}

std::string Chinese(std::size_t bytes) {
  static constexpr const char* kWords[] = {"注意力", "的", "块",   "检索", "长文本", "，",
                                           "模型",   "在", "我们", "。",   "缓存",   "2024"};
  std::mt19937 random(2);
  std::string text;
  while (text.size() < bytes) text.append(kWords[random() % std::size(kWords)]);
  return text;
}

std::string OneWord(std::size_t bytes) {
  std::mt19937 random(3);
  std::string text;
  while (text.size() < bytes) text.push_back(static_cast<char>('a' + random() % 8));
  return text;
}

void BM_Load(benchmark::State& state, const std::string& model) {
  for (auto _ : state) {
    const auto tokenizer = Tokenizer::Load(Folder(model));
    if (!tokenizer.ok()) {
      state.SkipWithError(tokenizer.error().message.c_str());
      return;
    }
  }
}

void BM_Encode(benchmark::State& state, const std::string& model, const std::string& text) {
  const auto tokenizer = Tokenizer::Load(Folder(model));
  if (!tokenizer.ok()) {
    state.SkipWithError(tokenizer.error().message.c_str());
    return;
  }
  for (auto _ : state) benchmark::DoNotOptimize((*tokenizer)->Encode(text));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}

constexpr std::size_t kTextBytes = std::size_t{1} << 20;

BENCHMARK_CAPTURE(BM_Load, qwen, "qwen2.5")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Load, llama, "llama3")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Encode, qwen_english, "qwen2.5", English(kTextBytes));
BENCHMARK_CAPTURE(BM_Encode, qwen_chinese, "qwen2.5", Chinese(kTextBytes));
BENCHMARK_CAPTURE(BM_Encode, qwen_one_word, "qwen2.5", OneWord(kTextBytes));
BENCHMARK_CAPTURE(BM_Encode, llama_english, "llama3", English(kTextBytes));
BENCHMARK_CAPTURE(BM_Encode, llama_chinese, "llama3", Chinese(kTextBytes));

}  // namespace
}  // namespace esa
