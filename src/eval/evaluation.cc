#include "eval/evaluation.h"

#include <fmt/format.h>

#include "base/status_macros.h"
#include "eval/metrics.h"
#include "eval/report/evaluation_output.h"

namespace esa {

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
  EvaluationOutput output(request.out_dir, std::string(request.dataset.name), request.settings);
  ESA_RETURN_IF_ERROR(output.Open(records));
  EvaluationResult result;
  result.resumed = output.predictions().size();
  SamplingParams params;
  params.max_tokens = request.style.max_tokens;
  if (request.dataset.stops_at_newline) params.stop = {"\n"};
  for (std::size_t i = result.resumed; i < records.size(); ++i) {
    const auto report = [&](double prefill) {
      if (progress) progress(i, records.size(), prefill);
    };
    report(0);
    ESA_ASSIGN_OR_RETURN(const Prompt prompt, MakePrompt(request, records[i], model));
    auto completion =
        model.answer(prompt, params, [&](std::size_t, double fraction) { report(fraction); });
    if (!completion) {
      Error error = completion.error();
      error.message = fmt::format("record {} of {}: {}", i + 1, records.size(), error.message);
      return error;
    }
    ESA_RETURN_IF_ERROR(output.Append(records[i], completion->text, completion->stats));
  }
  for (const Prediction& prediction : output.predictions()) {
    result.scores.push_back(scorer.Score(prediction.pred, prediction.answers));
  }
  result.score = MeanScore(result.scores);
  result.costs = output.costs();
  ESA_RETURN_IF_ERROR(output.Finish(result.score));
  return result;
}

}  // namespace esa
