// A sparse attention algorithm of one's own: every step attends to the first block, the last two,
// and the k blocks between them whose mean keys had the largest dot product with the query of the
// step before the last. Scoring and loading run beside the computation of a whole step.
//
// Usage: my_sparse_attention MODEL_DIR [PROMPT]
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "esa/llm.h"
#include "esa/sparse_attention.h"

namespace {

constexpr std::int64_t kSinks = 1;
constexpr std::int64_t kWindow = 2;

class Nearest : public esa::SparseAttention {
 public:
  explicit Nearest(std::int64_t k) : k_(k) {}

  // Beside the selection: the tail, and blocks sealed since the retrieval started.
  std::int64_t ResidentBlocks(const esa::SequenceShape& shape) const override {
    return std::min(shape.num_blocks(), kSinks + k_ + kWindow + 3);
  }

  void AttentionBegin(esa::AttentionStep& step) override {
    Layer& layer = At(step);
    const std::vector<esa::BlockIndex> failed = step.WaitLoad();
    std::vector<esa::BlockIndex> blocks;
    std::ranges::set_difference(layer.loading, failed, std::back_inserter(blocks));
    Append(blocks, layer.sealed, step.shape().sealed_blocks);
    step.Attend(blocks);
  }

  void AttentionEnd(esa::AttentionStep& step) override {
    Layer& layer = At(step);
    if (step.step() == 0) StartRetrieval(step, layer);  // the first selection cannot be older
    const std::int64_t window_begin = layer.candidates.end;
    layer.sealed = step.shape().sealed_blocks;
    layer.loading.clear();
    Append(layer.loading, 0, layer.candidates.begin);
    if (layer.ticket != 0) {
      std::ranges::copy(step.Collect(layer.ticket)[0], std::back_inserter(layer.loading));
    }
    Append(layer.loading, window_begin, layer.sealed);
    step.StartLoad(layer.loading);
    StartRetrieval(step, layer);
  }

 private:
  struct Layer {
    esa::RetrievalTicket ticket = 0;
    esa::BlockRange candidates;            // of the ticket
    std::vector<esa::BlockIndex> loading;  // sorted
    std::int64_t sealed = 0;               // when `loading` was chosen
    std::vector<float> query;              // must stay until the retrieval is collected
  };

  Layer& At(const esa::AttentionStep& step) {
    layers_.resize(static_cast<std::size_t>(step.shape().num_layers));
    return layers_[static_cast<std::size_t>(step.layer())];
  }

  static void Append(std::vector<esa::BlockIndex>& blocks, std::int64_t begin, std::int64_t end) {
    for (; begin < end; ++begin) blocks.push_back(static_cast<esa::BlockIndex>(begin));
  }

  void StartRetrieval(esa::AttentionStep& step, Layer& layer) const {
    const esa::SequenceShape& s = step.shape();
    const std::int64_t begin = std::min(kSinks, s.sealed_blocks);
    const std::int64_t end = std::max(begin, s.sealed_blocks - kWindow);
    layer.candidates = {static_cast<esa::BlockIndex>(begin), static_cast<esa::BlockIndex>(end)};
    layer.ticket = 0;
    if (begin == end || k_ == 0) return;
    layer.query.assign(step.query().begin(), step.query().end());
    layer.ticket = step.StartRetrieval({.candidates = layer.candidates,
                                        .k = k_,
                                        .query = layer.query,
                                        .score_of = esa::ScoreOf::kHead,
                                        .num_scores = s.num_heads});
  }

  std::int64_t k_;
  std::vector<Layer> layers_;
};

esa::Result<std::unique_ptr<esa::SparseAttention>> MakeNearest(const esa::Options& options) {
  esa::OptionReader reader("nearest", options);
  const std::int64_t k = reader.Int("k", 8, 0, 1 << 20);
  if (esa::Status valid = reader.Finish(); !valid) return valid.error();
  return std::unique_ptr<esa::SparseAttention>(std::make_unique<Nearest>(k));
}

// A fact in front of text that says nothing: what attention over a window alone cannot answer.
std::string DefaultPrompt() {
  std::string prompt = "The door code of Alice is 4711.";
  for (int i = 0; i < 300; ++i) prompt += " The quiet garden was near the old river.";
  return prompt + "\n\nQuestion: What is the door code of Alice?\nAnswer:";
}

int Fail(const esa::Error& error) {
  std::fprintf(stderr, "my_sparse_attention: %s\n", error.message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: my_sparse_attention MODEL_DIR [PROMPT]\n");
    return 2;
  }
  if (esa::Status added = esa::RegisterSparseAttention("nearest", MakeNearest); !added) {
    return Fail(added.error());
  }
  esa::EngineConfig config;
  config.model_dir = argv[1];
  config.block_tokens = 32;
  config.sparse = {.name = "nearest", .options = {{"k", std::int64_t{8}}}};
  auto llm = esa::LLM::Open(config);
  if (!llm) return Fail(llm.error());

  const std::vector<esa::Prompt> prompts{
      {.prompt = argc > 2 ? argv[2] : DefaultPrompt(), .messages = {}, .token_ids = {}}};
  esa::SamplingParams params;
  params.max_tokens = 24;
  auto completions = (*llm)->Generate(prompts, params);
  if (!completions) return Fail(completions.error());
  const esa::Completion& answer = completions->front();
  std::printf("%s\n%lld prompt tokens; %.1f KiB loaded for %lld tokens, %s\n", answer.text.c_str(),
              static_cast<long long>(answer.stats.prompt_tokens),
              static_cast<double>(answer.stats.loaded_bytes) / 1024,
              static_cast<long long>(answer.stats.generated_tokens),
              answer.stats.sparse ? "sparse" : "dense");
  return 0;
}
