#include "eval/evaluation.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "eval/metrics.h"
#include "eval/report/evaluation_output.h"

namespace esa {
namespace {

Error OfRecord(std::size_t index, std::size_t total, Error error) {
  error.message = fmt::format("record {} of {}: {}", index + 1, total, error.message);
  return error;
}

// LongBench lets no answer of samsum begin with the newline that ends it. Where the model begins
// with one, the answer is made once more and to its full length: scored is its first line.
Result<Completion> Answer(const EvaluationRequest& request, const Prompt& prompt,
                          const EvaluationModel& model, const ProgressCallback& progress) {
  SamplingParams params;
  params.max_tokens = request.style.max_tokens;
  if (!request.dataset.stops_at_newline) return model.answer(prompt, params, progress);
  params.stop = {"\n"};
  auto completion = model.answer(prompt, params, progress);
  if (!completion || !completion->text.empty() || !request.dataset.first_line_only) {
    return completion;
  }
  params.stop.clear();
  return model.answer(prompt, params, progress);
}

}  // namespace

std::int64_t LongestPrompt(const Dataset& dataset, int answer_tokens, std::int64_t max_position) {
  const std::int64_t template_tokens = dataset.raw_prompt ? 0 : 128;
  return std::max<std::int64_t>(1, max_position - answer_tokens - template_tokens);
}

Result<Prompt> MakePrompt(const EvaluationRequest& request, const Record& record,
                          const EvaluationModel& model) {
  ESA_ASSIGN_OR_RETURN(std::string text,
                       KeepBothEnds(FillPrompt(request.style.prompt_template, record),
                                    request.max_prompt_tokens, model.codec));
  Prompt prompt;
  if (model.has_chat_template && !request.dataset.raw_prompt) {
    prompt.messages.push_back({.role = "user", .content = std::move(text)});
  } else {
    prompt.prompt = std::move(text);
  }
  return prompt;
}

Result<EvaluationResult> Evaluate(const EvaluationRequest& request, std::span<const Record> records,
                                  const EvaluationModel& model,
                                  const EvaluationProgress& progress) {
  ESA_ASSIGN_OR_RETURN(const Scorer scorer, Scorer::Create(request.dataset));
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Status usable = scorer.Check(records[i]);
    if (!usable) return OfRecord(i, records.size(), usable.error());
  }
  EvaluationOutput output(request.out_dir, std::string(request.dataset.name), request.settings);
  ESA_RETURN_IF_ERROR(output.Open(records));
  EvaluationResult result;
  result.resumed = output.predictions().size();
  for (std::size_t i = result.resumed; i < records.size(); ++i) {
    const auto report = [&](double prefill) {
      if (progress) progress(i, records.size(), prefill);
    };
    report(0);
    ESA_ASSIGN_OR_RETURN(const Prompt prompt, MakePrompt(request, records[i], model));
    const auto completion =
        Answer(request, prompt, model, [&](std::size_t, double fraction) { report(fraction); });
    if (!completion) return OfRecord(i, records.size(), completion.error());
    ESA_RETURN_IF_ERROR(output.Append(records[i], completion->text, completion->stats));
  }
  for (const Prediction& prediction : output.predictions()) {
    ESA_ASSIGN_OR_RETURN(const double score, scorer.Score(prediction));
    result.scores.push_back(score);
  }
  result.score = MeanScore(result.scores);
  result.costs = output.costs();
  ESA_RETURN_IF_ERROR(output.Finish(result.score));
  return result;
}

}  // namespace esa
