#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "base/progress.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "cli/command.h"
#include "cli/compare_engine.h"
#include "cli/engine_flags.h"
#include "eval/compare.h"
#include "model/tokenizer.h"

namespace esa::cli {
namespace {

constexpr int kAuditEvery = 8;

struct CompareOptions {
  EngineFlags engine;
  std::vector<std::string> data;
  std::vector<std::string> algorithms;
  std::vector<double> ratios = {0.02, 0.05, 0.1, 0.2};
  std::vector<std::string> rows;
  std::string options;  // JSON
  std::int64_t stride = 5;
  std::size_t limit = 0;
  std::size_t audited_records = 2;
  std::int64_t max_length = 0;
  std::string longbench_config;
  std::string out;
  bool json = false;
};

Result<CompareRequest> RequestOf(const CompareOptions& options) {
  if (options.data.empty()) return InvalidArgument("no records are named: give --data FILE.jsonl");
  if (options.out.empty()) return InvalidArgument("no output folder is named: give --out DIR");
  ComparePlan plan{.algorithms = options.algorithms,
                   .ratios = options.ratios,
                   .stride = options.stride,
                   .options = {},
                   .named = {}};
  if (!options.options.empty()) {
    auto by_algorithm = ParseOptionsByAlgorithm(options.options);
    if (!by_algorithm) return InvalidArgument("--options: " + by_algorithm.error().message);
    plan.options = std::move(*by_algorithm);
  }
  for (const std::string& row : options.rows) {
    ESA_ASSIGN_OR_RETURN(NamedAlgorithm named, ParseNamedAlgorithm(row));
    plan.named.push_back(std::move(named));
  }
  CompareRequest request;
  // First: it loads the plug-ins, whose algorithms are rows too.
  ESA_ASSIGN_OR_RETURN(request.config, options.engine.Resolve());
  ESA_ASSIGN_OR_RETURN(request.rows, PlanRows(plan));
  if (!options.engine.audit_every) request.config.audit.every = kAuditEvery;
  request.ratios = options.ratios;
  request.bounded_memory = options.engine.kv_memory.has_value();
  request.audited_records = options.audited_records;
  request.longbench_folder = options.longbench_config;
  request.max_length = options.max_length;
  request.out_dir = options.out;
  return request;
}

// The exit code.
Result<int> RunComparison(const CompareOptions& options, CompareRequest request) {
  ESA_ASSIGN_OR_RETURN(request.files, ReadCompareFiles(options.data, options.limit));
  ESA_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(request.config.model_dir));
  ESA_ASSIGN_OR_RETURN(const CompareEngine engine,
                       CompareEngineOf(request.config, tokenizer.get()));
  Progress progress("comparing");
  const auto comparison = Compare(
      std::move(request), engine,
      [&](double fraction, const CompareRow& row, const CompareFile& file, std::size_t record) {
        progress.Update(fraction, fmt::format("{} on {}, record {} of {}", row.name(), file.name,
                                              record + 1, file.records.size()));
      });
  progress.Clear();
  if (!comparison) return comparison.error();
  const std::string json = CompareJson(*comparison);
  ESA_RETURN_IF_ERROR(ReplaceFile(options.out + "/compare.csv", CompareCsv(*comparison)));
  ESA_RETURN_IF_ERROR(ReplaceFile(options.out + "/compare.json", json));
  ESA_RETURN_IF_ERROR(ReplaceFile(options.out + "/compare.html", CompareHtml(*comparison)));
  fmt::print("{}", options.json ? json : CompareTable(*comparison));
  if (!options.json) {
    fmt::print("\nwritten to {0}/compare.html, {0}/compare.csv, {0}/compare.json\n", options.out);
  }
  std::fflush(stdout);
  for (const CompareCell& cell : comparison->cells) {
    if (const int code = ReportStore(cell.costs); code != kDone) return code;
  }
  return kDone;
}

int RunCompare(const CompareOptions& options) {
  auto request = RequestOf(options);
  if (!request) return Fail(request.error(), kUsage);
  const Result<int> code = RunComparison(options, std::move(*request));
  return code ? *code : Fail(code.error());
}

void AddRows(CLI::App* command, CompareOptions* options) {
  command
      ->add_option("--algorithms", options->algorithms,
                   "What to compare, beside dense, Oracle, random and streaming; default: all")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAME,...");
  command
      ->add_option("--ratios", options->ratios,
                   "Budgets: sparse_ratio of those that know it, a row each")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("R,...")
      ->capture_default_str();
  command->add_option("--stride", options->stride, "retrieval_stride of those that know it")
      ->type_name("STEPS")
      ->capture_default_str();
  command
      ->add_option("--options", options->options,
                   "More options by algorithm: '{\"ESA\": {\"local_window_sz\": 4}}'")
      ->type_name("JSON");
  command
      ->add_option("--row", options->rows,
                   "One more algorithm with options of its own, by ratio unless it sets one: "
                   "'label=NAME {\"option\": 1}'; may be repeated")
      ->allow_extra_args(false)
      ->type_name("ROW");
}

void AddData(CLI::App* command, CompareOptions* options) {
  command
      ->add_option("--data", options->data,
                   "Records, as esa eval generate writes them, each with its \"dataset\"")
      ->type_name("FILE.jsonl...");
  command->add_option("--out", options->out, "Folder for reports and answers")->type_name("DIR");
  command->add_option("--limit", options->limit, "Only the first records of each file")
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
  command
      ->add_option("--audit-records", options->audited_records,
                   "Of each file, the first records that are audited")
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--json", options->json, "compare.json on stdout in place of the table");
}

// Rows have algorithms of their own, and an audit that acts would change what a row is.
void AddEngine(CLI::App* command, CompareOptions* options) {
  options->engine.AddTo(command);
  for (const char* flag : {"--sparse", "--sparse-config", "--audit-threshold", "--audit-action"}) {
    command->remove_option(command->get_option(flag));
  }
}

}  // namespace

void AddEvalCompareCommand(CLI::App* eval, Action* action) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = eval->add_subcommand(
      "compare", "Algorithms against budgets: score, bytes, speed and missed mass, with plots");
  AddData(command, options.get());
  AddRows(command, options.get());
  AddEngine(command, options.get());
  command->footer(
      "Every prompt is computed once: the dense row leaves its KV in --store, or in a folder of "
      "the\n"
      "output folder that is removed at the end. Without --kv-memory all KV stays in memory, so "
      "rows\n"
      "are quick and nothing is loaded while decoding; fetched bytes say what would have been. An\n"
      "interrupted comparison goes on where it was. A row that was not decoded sparsely is an\n"
      "error.\n\n"
      "Example:\n"
      "  esa eval generate --task needle --tokens 8192 --count 20 --model models/esa-needle \\\n"
      "      --out needle.jsonl\n"
      "  esa eval compare --model models/esa-needle --data needle.jsonl --block-tokens 32 \\\n"
      "      --out comparison");
  OnCall(command, action, options, &RunCompare);
}

}  // namespace esa::cli
