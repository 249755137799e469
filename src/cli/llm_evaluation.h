// An LLM as an evaluation sees it.
#pragma once

#include <memory>
#include <string>

#include "esa/llm.h"
#include "eval/evaluation.h"
#include "eval/task_generator.h"
#include "model/tokenizer.h"

namespace esa::cli {

// `llm` and `tokenizer` must outlive what is returned.
EvaluationModel AsEvaluationModel(LLM* llm, const Tokenizer* tokenizer);

// Tokens of a text, none added. `tokenizer` must outlive it.
TokenCounter CounterOf(const Tokenizer* tokenizer);

}  // namespace esa::cli
