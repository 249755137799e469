#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "base/status_macros.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/llm_evaluation.h"
#include "eval/cost.h"
#include "eval/evaluation.h"
#include "eval/metrics.h"

namespace esa::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

struct EvalOptions {
  EngineFlags engine;
  std::string dataset;
  std::string data;
  std::string out;
  std::string longbench_config;
  std::size_t limit = 0;
  std::int64_t max_length = 0;  // 0: what the model was trained for
  bool json = false;
};

// The file, or <dataset>.jsonl in a folder; DATASET_PATH where no flag is given.
Result<std::string> DataFile(const EvalOptions& options) {
  const char* environment = std::getenv("DATASET_PATH");
  std::string path = options.data;
  if (path.empty() && environment != nullptr) path = environment;
  if (path.empty()) {
    return InvalidArgument("no records are named: give --data FILE.jsonl or set DATASET_PATH");
  }
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) path += "/" + options.dataset + ".jsonl";
  return path;
}

Status CheckUsage(const EvalOptions& options) {
  if (options.dataset.empty()) return InvalidArgument("no data set is named: give --dataset NAME");
  if (options.out.empty()) return InvalidArgument("no output folder is named: give --out DIR");
  return {};
}

void PrintResult(const EvalOptions& options, const EvaluationResult& result) {
  if (options.json) {
    const OrderedJson all = {{"dataset", options.dataset},
                             {"score", result.score},
                             {"records", result.scores.size()},
                             {"resumed", result.resumed},
                             {"cost", OrderedJson::parse(CostJson(result.costs))}};
    fmt::print("{}\n", all.dump(1));
    return;
  }
  fmt::print(
      "{}: {:.2f} over {} records{}\n", options.dataset, result.score, result.scores.size(),
      result.resumed > 0 ? fmt::format(", {} of them from an earlier run", result.resumed) : "");
  fmt::print("{}", CostText(result.costs));
  fmt::print("written to {0}/{1}.jsonl, {0}/result.json, {0}/cost.json\n", options.out,
             options.dataset);
}

// The exit code.
Result<int> EvaluateDataset(const EvalOptions& options, const EngineConfig& config) {
  EvaluationRequest request;
  ESA_ASSIGN_OR_RETURN(request.dataset, FindDataset(options.dataset));
  // Before anything slow: can it be scored, is it readable.
  ESA_ASSIGN_OR_RETURN(const Scorer scorer, Scorer::Create(request.dataset));
  ESA_ASSIGN_OR_RETURN(request.style, ChoosePromptStyle(request.dataset, options.longbench_config));
  ESA_ASSIGN_OR_RETURN(const std::string data, DataFile(options));
  ESA_ASSIGN_OR_RETURN(const std::vector<Record> records, ReadRecords(data, options.limit));
  ESA_ASSIGN_OR_RETURN(const auto llm, LLM::Open(config));
  ESA_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(config.model_dir));
  request.max_prompt_tokens =
      options.max_length > 0
          ? options.max_length
          : LongestPrompt(request.dataset, request.style.max_tokens, llm->max_position());
  request.out_dir = options.out;
  request.settings = DescribeSettings(config);
  request.settings["data"] = data;
  request.settings["longbench_config"] = options.longbench_config;
  request.settings["max_length"] = fmt::format("{}", request.max_prompt_tokens);
  Progress progress(options.dataset, !options.json);
  const auto result = Evaluate(
      request, records, AsEvaluationModel(llm.get(), tokenizer.get()),
      [&](std::size_t done, std::size_t total, double prefill) {
        progress.Update((static_cast<double>(done) + 0.9 * prefill) / static_cast<double>(total),
                        fmt::format("record {} of {}", done + 1, total));
      });
  progress.Clear();
  const Status metrics = options.engine.WriteMetrics(*llm);  // failures are counted there too
  if (!result) return result.error();
  PrintResult(options, *result);
  std::fflush(stdout);
  ESA_RETURN_IF_ERROR(metrics);
  return ReportStore(result->costs);
}

int Eval(const EvalOptions& options) {
  if (const Status usage = CheckUsage(options); !usage) return Fail(usage.error(), kUsage);
  if (const auto dataset = FindDataset(options.dataset); !dataset) {
    return Fail(dataset.error(), kUsage);
  }
  if (const auto data = DataFile(options); !data) return Fail(data.error(), kUsage);
  const auto config = options.engine.Resolve();
  if (!config) return Fail(config.error(), kUsage);
  const Result<int> code = EvaluateDataset(options, *config);
  return code ? *code : Fail(code.error());
}

}  // namespace

void AddEvalCommand(CLI::App* app, Action* action) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command =
      app->add_subcommand("eval", "Answer and score a data set in LongBench's format");
  command->require_subcommand(0, 1);
  command
      ->add_option("--dataset", options->dataset,
                   "Its name: hotpotqa, multifieldqa_zh, needle, ...")
      ->type_name("NAME");
  command
      ->add_option("--data", options->data,
                   "Records, or a folder with NAME.jsonl; else DATASET_PATH")
      ->type_name("FILE.jsonl");
  command->add_option("--out", options->out, "Folder for predictions, score and cost")
      ->type_name("DIR");
  command->add_option("--limit", options->limit, "Only the first records")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  command
      ->add_option("--max-length", options->max_length,
                   "Longer prompts keep their first and last half; default: the model's")
      ->check(CLI::PositiveNumber)
      ->type_name("TOKENS");
  command
      ->add_option("--longbench-config", options->longbench_config,
                   "Folder with dataset2prompt.json and dataset2maxlen.json")
      ->type_name("DIR");
  command->add_flag("--json", options->json, "The result as JSON on stdout");
  options->engine.AddMetricsTo(command);
  options->engine.AddTo(command);
  AddEvalScoreCommand(command, action);
  AddEvalGenerateCommand(command, action);
  AddEvalCompareCommand(command, action);
  command->footer(
      "Answers are greedy. An interrupted run goes on after its last whole line.\n\n"
      "Examples:\n"
      "  esa eval --model DIR --dataset hotpotqa --data hotpotqa.jsonl --out results \\\n"
      "      --longbench-config LongBench/config --sparse ESA --store /ssd/kv\n"
      "  esa eval score --dataset hotpotqa --predictions results/hotpotqa.jsonl\n"
      "  esa eval generate --task needle --tokens 8192 --count 20 --model DIR --out needle.jsonl");
  command->callback([=] {
    if (!command->get_subcommands().empty()) return;
    *action = [=] { return Eval(*options); };
  });
}

}  // namespace esa::cli
