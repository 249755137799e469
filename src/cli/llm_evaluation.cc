#include "cli/llm_evaluation.h"

#include <vector>

namespace esa::cli {

EvaluationModel AsEvaluationModel(LLM* llm, const Tokenizer* tokenizer) {
  EvaluationModel model;
  model.answer = [llm](const Prompt& prompt, const SamplingParams& params,
                       const ProgressCallback& progress) -> Result<Completion> {
    auto completions = llm->Generate({&prompt, 1}, params, {}, progress);
    if (!completions) return completions.error();
    return std::move(completions->front());
  };
  // LongBench counts the tokens that begin a text as part of the prompt it cuts.
  model.codec.encode = [tokenizer](std::string_view text) -> Result<std::vector<std::int32_t>> {
    return tokenizer->Encode(text, {.add_special_tokens = true, .parse_special = true});
  };
  model.codec.decode = [tokenizer](const std::vector<std::int32_t>& ids) {
    return tokenizer->Decode(ids);
  };
  const Message trial{.role = "user", .content = "Hello"};
  model.has_chat_template = llm->RenderChat({&trial, 1}).ok();
  return model;
}

TokenCounter CounterOf(const Tokenizer* tokenizer) {
  return [tokenizer](std::string_view text) {
    const auto ids = tokenizer->Encode(text, {.add_special_tokens = false, .parse_special = true});
    return static_cast<std::int64_t>(ids.size());
  };
}

}  // namespace esa::cli
