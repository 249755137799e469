#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "cli/command.h"
#include "eval/metrics.h"
#include "eval/records.h"

namespace esa::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

struct ScoreOptions {
  std::string dataset;
  std::string predictions;
  std::string per_sample;
  bool json = false;
};

struct PredictionFile {
  Dataset dataset;
  std::string path;
};

struct DatasetScore {
  std::string_view dataset;
  double score = 0;             // 0 to 100, two decimals
  std::vector<double> samples;  // in [0, 1]
};

bool IsFolder(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// Without --dataset: the known data sets that have a file in the folder, in the order of the table.
Result<std::vector<PredictionFile>> FilesOf(const ScoreOptions& options) {
  const bool folder = IsFolder(options.predictions);
  const auto file_of = [&](std::string_view name) {
    return fmt::format("{}/{}.jsonl", options.predictions, name);
  };
  std::vector<PredictionFile> files;
  if (!options.dataset.empty()) {
    ESA_ASSIGN_OR_RETURN(const Dataset dataset, FindDataset(options.dataset));
    files.push_back({dataset, folder ? file_of(dataset.name) : options.predictions});
    return files;
  }
  if (!Exists(options.predictions)) {
    return NotFound(options.predictions + ": no such file or folder");
  }
  if (!folder) {
    return InvalidArgument(options.predictions +
                           ": no folder; predictions of one file want --dataset NAME");
  }
  for (const Dataset& dataset : Datasets()) {
    std::string path = file_of(dataset.name);
    if (Exists(path)) files.push_back({dataset, std::move(path)});
  }
  if (files.empty()) {
    return NotFound(options.predictions +
                    ": no predictions in it, expected files such as hotpotqa.jsonl");
  }
  return files;
}

Result<DatasetScore> ScoreFile(const PredictionFile& file, const Scorer& scorer,
                               Progress* progress) {
  ESA_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions, ReadPredictions(file.path));
  if (predictions.empty()) return DataError(file.path + ": no predictions in it");
  DatasetScore result{.dataset = file.dataset.name, .samples = {}};
  const std::size_t total = predictions.size();
  for (const Prediction& prediction : predictions) {
    const std::size_t done = result.samples.size();
    progress->Update(static_cast<double>(done) / static_cast<double>(total),
                     fmt::format("{}, {} of {}", file.dataset.name, done, total));
    const auto score = scorer.Score(prediction);
    if (!score) {
      return DataError(
          fmt::format("{}: prediction {}: {}", file.path, done + 1, score.error().message));
    }
    result.samples.push_back(*score);
  }
  result.score = MeanScore(result.samples);
  return result;
}

Result<std::vector<DatasetScore>> ScoreFiles(const std::vector<PredictionFile>& files,
                                             Progress* progress) {
  std::vector<DatasetScore> scores;
  std::shared_ptr<const ChineseSegmenter> segmenter;
  for (const PredictionFile& file : files) {
    ESA_ASSIGN_OR_RETURN(const Scorer scorer, Scorer::Create(file.dataset, segmenter));
    segmenter = scorer.segmenter();
    ESA_ASSIGN_OR_RETURN(DatasetScore score, ScoreFile(file, scorer, progress));
    scores.push_back(std::move(score));
  }
  return scores;
}

// Of the scores as they are reported.
double Average(const std::vector<DatasetScore>& scores) {
  std::vector<double> parts;
  for (const DatasetScore& score : scores) parts.push_back(score.score / 100);
  return MeanScore(parts);
}

Status WriteSamples(const std::string& path, const std::vector<DatasetScore>& scores) {
  OrderedJson all = OrderedJson::object();
  for (const DatasetScore& score : scores) all[std::string(score.dataset)] = score.samples;
  return ReplaceFile(path, all.dump() + "\n");
}

void PrintOne(const ScoreOptions& options, const DatasetScore& score) {
  if (options.json) {
    const OrderedJson all = {
        {"dataset", score.dataset}, {"score", score.score}, {"records", score.samples.size()}};
    fmt::print("{}\n", all.dump());
  } else {
    fmt::print("{}: {:.2f} over {} predictions\n", score.dataset, score.score,
               score.samples.size());
  }
}

void PrintAll(const ScoreOptions& options, const std::vector<DatasetScore>& scores) {
  if (options.json) {
    OrderedJson datasets = OrderedJson::object();
    for (const DatasetScore& score : scores) {
      datasets[std::string(score.dataset)] = {{"score", score.score},
                                              {"records", score.samples.size()}};
    }
    const OrderedJson all = {{"datasets", datasets}, {"average", Average(scores)}};
    fmt::print("{}\n", all.dump(1));
    return;
  }
  fmt::print("{:<22} {:>6} {:>12}\n", "dataset", "score", "predictions");
  for (const DatasetScore& score : scores) {
    fmt::print("{:<22} {:>6.2f} {:>12}\n", score.dataset, score.score, score.samples.size());
  }
  fmt::print("{:<22} {:>6.2f}\n", fmt::format("average of {}", scores.size()), Average(scores));
}

Status ScorePredictions(const ScoreOptions& options, const std::vector<PredictionFile>& files) {
  Progress progress("score", !options.json);
  const auto scores = ScoreFiles(files, &progress);
  progress.Clear();
  if (!scores) return scores.error();
  if (!options.per_sample.empty()) ESA_RETURN_IF_ERROR(WriteSamples(options.per_sample, *scores));
  if (options.dataset.empty()) {
    PrintAll(options, *scores);
  } else {
    PrintOne(options, scores->front());
  }
  return {};
}

int Score(const ScoreOptions& options) {
  const auto files = FilesOf(options);
  if (!files) {
    const bool usage = files.error().code == ErrorCode::kInvalidArgument;
    return Fail(files.error(), usage ? kUsage : kFailed);
  }
  const Status status = ScorePredictions(options, *files);
  return status.ok() ? kDone : Fail(status.error());
}

}  // namespace

void AddEvalScoreCommand(CLI::App* eval, Action* action) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = eval->add_subcommand("score", "Score predictions that are there already");
  command
      ->add_option("--dataset", options->dataset,
                   "Which metric: hotpotqa, multifieldqa_zh, ...; without it, each NAME.jsonl of a "
                   "folder by its name")
      ->type_name("NAME");
  command
      ->add_option("--predictions", options->predictions,
                   "Lines {\"pred\": \"...\", \"answers\": [...], \"all_classes\": [...]}, or a "
                   "folder of such files")
      ->type_name("FILE.jsonl|DIR")
      ->required();
  command
      ->add_option("--per-sample", options->per_sample,
                   "Also write {NAME: [score of each line]} there")
      ->type_name("OUT.json");
  command->add_flag("--json", options->json, "The score as JSON on stdout");
  command->footer(
      "Examples:\n"
      "  esa eval score --dataset qasper --predictions results/qasper.jsonl --json\n"
      "  esa eval score --predictions results --per-sample scores.json");
  OnCall(command, action, options, &Score);
}

}  // namespace esa::cli
