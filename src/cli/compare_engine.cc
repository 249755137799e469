#include "cli/compare_engine.h"

#include <memory>
#include <utility>

#include "base/status_macros.h"
#include "cli/engine_flags.h"
#include "cli/llm_evaluation.h"
#include "kv/geometry.h"
#include "model/model.h"

namespace esa::cli {
namespace {

class OpenLlm final : public CompareModel {
 public:
  // `tokenizer` must outlive it.
  OpenLlm(std::unique_ptr<LLM> llm, const Tokenizer* tokenizer)
      : llm_(std::move(llm)), evaluation_(AsEvaluationModel(llm_.get(), tokenizer)) {}

  Result<Completion> Answer(const Prompt& prompt, const SamplingParams& params,
                            const ProgressCallback& progress) override {
    return evaluation_.answer(prompt, params, progress);
  }
  void Observe(SelectionObserver observer) override {
    llm_->ObserveSelections(std::move(observer));
  }

 private:
  std::unique_ptr<LLM> llm_;
  EvaluationModel evaluation_;
};

Result<ModelFacts> FactsOf(const EngineConfig& config) {
  ESA_ASSIGN_OR_RETURN(const ModelConfig model, ReadModelConfig(config.model_dir));
  const KvGeometry geometry{.num_layers = model.num_layers,
                            .num_kv_heads = model.num_kv_heads,
                            .slice = {.block_tokens = config.block_tokens,
                                      .head_dim = model.head_dim,
                                      .dtype = config.kv_dtype}};
  ModelFacts facts;
  facts.shape.block_tokens = config.block_tokens;
  facts.shape.num_layers = model.num_layers;
  facts.shape.num_heads = model.num_heads;
  facts.shape.num_kv_heads = model.num_kv_heads;
  facts.shape.head_dim = model.head_dim;
  facts.max_position = model.max_position;
  facts.block_bytes = static_cast<std::uint64_t>(geometry.block_bytes());
  return facts;
}

}  // namespace

Result<CompareEngine> CompareEngineOf(EngineConfig config, const Tokenizer* tokenizer) {
  CompareEngine engine;
  ESA_ASSIGN_OR_RETURN(engine.facts, FactsOf(config));
  engine.describe = &DescribeSettings;
  engine.open = [tokenizer](const EngineConfig& row) -> Result<std::unique_ptr<CompareModel>> {
    ESA_ASSIGN_OR_RETURN(auto llm, LLM::Open(row));
    return std::unique_ptr<CompareModel>(std::make_unique<OpenLlm>(std::move(llm), tokenizer));
  };
  // Open for a moment, to be asked about its prompts: the store is left alone.
  config.store = {};
  ESA_ASSIGN_OR_RETURN(const auto llm, LLM::Open(config));
  const EvaluationModel evaluation = AsEvaluationModel(llm.get(), tokenizer);
  engine.codec = evaluation.codec;
  engine.has_chat_template = evaluation.has_chat_template;
  return engine;
}

}  // namespace esa::cli
