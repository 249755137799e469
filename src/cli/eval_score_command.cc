#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/status_macros.h"
#include "base/text_file.h"
#include "cli/command.h"
#include "eval/metrics.h"
#include "eval/records.h"

namespace esa::cli {
namespace {

struct ScoreOptions {
  std::string dataset;
  std::string predictions;
  std::string per_sample;
  bool json = false;
};

Status ScorePredictions(const ScoreOptions& options) {
  ESA_ASSIGN_OR_RETURN(const Dataset dataset, FindDataset(options.dataset));
  ESA_ASSIGN_OR_RETURN(const Scorer scorer, Scorer::Create(dataset));
  ESA_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions,
                       ReadPredictions(options.predictions));
  if (predictions.empty()) return DataError(options.predictions + ": no predictions in it");
  std::vector<double> scores;
  for (const Prediction& prediction : predictions) {
    scores.push_back(scorer.Score(prediction.pred, prediction.answers));
  }
  if (!options.per_sample.empty()) {
    const nlohmann::json all = {{options.dataset, scores}};
    ESA_RETURN_IF_ERROR(ReplaceFile(options.per_sample, all.dump() + "\n"));
  }
  const double score = MeanScore(scores);
  if (options.json) {
    const nlohmann::ordered_json all = {
        {"dataset", options.dataset}, {"score", score}, {"records", scores.size()}};
    fmt::print("{}\n", all.dump());
  } else {
    fmt::print("{}: {:.2f} over {} predictions\n", options.dataset, score, scores.size());
  }
  return {};
}

int Score(const ScoreOptions& options) {
  if (const auto dataset = FindDataset(options.dataset); !dataset) {
    return Fail(dataset.error(), kUsage);
  }
  const Status status = ScorePredictions(options);
  return status.ok() ? kDone : Fail(status.error());
}

}  // namespace

void AddEvalScoreCommand(CLI::App* eval, Action* action) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = eval->add_subcommand("score", "Score predictions that are there already");
  command->add_option("--dataset", options->dataset, "Which metric: hotpotqa, multifieldqa_zh, ...")
      ->type_name("NAME")
      ->required();
  command
      ->add_option("--predictions", options->predictions,
                   "Lines {\"pred\": \"...\", \"answers\": [...]}")
      ->type_name("FILE.jsonl")
      ->required();
  command
      ->add_option("--per-sample", options->per_sample,
                   "Also write {NAME: [score of each line]} there")
      ->type_name("OUT.json");
  command->add_flag("--json", options->json, "The score as JSON on stdout");
  command->footer(
      "Example:\n  esa eval score --dataset qasper --predictions results/qasper.jsonl --json");
  OnCall(command, action, options, &Score);
}

}  // namespace esa::cli
