// Answers the records of a data set one after the other, scores them and writes what it cost.
//
// Threading: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "esa/llm.h"
#include "esa/result.h"
#include "eval/datasets.h"
#include "eval/prompt_template.h"
#include "eval/records.h"

namespace esa {

// What an evaluation needs of a model: an LLM, or a stand-in.
struct EvaluationModel {
  std::function<Result<Completion>(const Prompt&, const SamplingParams&, const ProgressCallback&)>
      answer;
  TextCodec codec;
  bool has_chat_template = false;
};

struct EvaluationRequest {
  Dataset dataset;
  PromptStyle style;
  std::int64_t max_prompt_tokens = 0;  // longer prompts keep both ends
  std::string out_dir;                 // made where it is missing
  // What the predictions depend on, by name. A run resumes only one with equal settings.
  std::map<std::string, std::string> settings;
};

struct EvaluationResult {
  double score = 0;                 // 0 to 100, two decimals
  std::vector<double> scores;       // per record, [0, 1]
  std::vector<RequestStats> costs;  // per record
  std::size_t resumed = 0;          // records that an earlier run had answered
};

// Of `total` records `done` are finished; the one at work is in prefill up to `prefill` (1:
// decode).
using EvaluationProgress = std::function<void(std::size_t done, std::size_t total, double prefill)>;

// Writes, in out_dir, a line a record to <dataset>.jsonl as soon as it is answered, the score to
// result.json and costs to cost.json, both by data set. Where <dataset>.jsonl holds whole lines of
// an interrupted run of the same records and settings, goes on after them; a torn last line is cut
// off. Errors leave what is written.
Result<EvaluationResult> Evaluate(const EvaluationRequest& request, std::span<const Record> records,
                                  const EvaluationModel& model,
                                  const EvaluationProgress& progress = {});

// Tokens that a prompt may have beside its answer and what a chat template puts around it, 1 or
// more.
std::int64_t LongestPrompt(const Dataset& dataset, int answer_tokens, std::int64_t max_position);

// The prompt of one record: filled, cut to length, in a chat message where that is due.
Result<Prompt> MakePrompt(const EvaluationRequest& request, const Record& record,
                          const EvaluationModel& model);

}  // namespace esa
