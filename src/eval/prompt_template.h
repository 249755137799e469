// How a record becomes a prompt: templates, output lengths, and cutting what is too long.
//
// Threading: pure functions; a PromptStyle is a value.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"
#include "eval/datasets.h"
#include "eval/records.h"

namespace esa {

struct PromptStyle {
  std::string prompt_template;
  int max_tokens = 0;
};

// The data set's own style, or that of a LongBench configuration folder (dataset2prompt.json,
// dataset2maxlen.json) where `longbench_folder` is not empty. What is not of LongBench keeps its
// own.
Result<PromptStyle> ChoosePromptStyle(const Dataset& dataset, const std::string& longbench_folder);

// {context} and {input} replaced by the record's fields, once: braces in them mean nothing.
std::string FillPrompt(std::string_view prompt_template, const Record& record);

// Text to ids and back, as the model's tokenizer does.
struct TextCodec {
  std::function<Result<std::vector<std::int32_t>>(std::string_view)> encode;
  std::function<std::string(const std::vector<std::int32_t>&)> decode;
};

// LongBench's rule: a prompt of more than `max_tokens` keeps its first and its last
// max_tokens / 2 tokens.
Result<std::string> KeepBothEnds(std::string prompt, std::int64_t max_tokens,
                                 const TextCodec& codec);

}  // namespace esa
