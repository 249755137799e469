#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <optional>

#include "base/progress.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "cli/command.h"
#include "cli/llm_evaluation.h"

namespace esa::cli {
namespace {

struct GenerateOptions {
  std::string model;
  std::string task = "needle";
  std::int64_t tokens = 8192;
  std::int64_t count = 20;
  std::uint64_t seed = 0;
  std::optional<double> depth;
  std::string out;
};

Status WriteRecords(const GenerateOptions& options) {
  ESA_ASSIGN_OR_RETURN(const TaskGenerator generator,
                       TaskGenerator::Load(options.model + "/tasks.json"));
  ESA_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(options.model));
  const TokenCounter counter = CounterOf(tokenizer.get());
  Progress progress("generating");
  std::string lines;
  for (std::int64_t i = 0; i < options.count; ++i) {
    const double spread = (static_cast<double>(i) + 0.5) / static_cast<double>(options.count);
    const TaskRequest request{.task = options.task,
                              .tokens = options.tokens,
                              .depth = options.depth.value_or(spread),
                              .seed = options.seed,
                              .index = static_cast<std::uint64_t>(i)};
    ESA_ASSIGN_OR_RETURN(const Record record, generator.Generate(request, counter));
    lines += ToJsonLine(record) + "\n";
    progress.Update(static_cast<double>(i + 1) / static_cast<double>(options.count));
  }
  ESA_RETURN_IF_ERROR(ReplaceFile(options.out, lines));
  progress.Clear();
  fmt::print(stderr, "{}: {} records of task {}, at most {} tokens each\n", options.out,
             options.count, options.task, options.tokens);
  return {};
}

int Generate(const GenerateOptions& options) {
  const Status status = WriteRecords(options);
  if (status.ok()) return kDone;
  return Fail(status.error(),
              status.error().code == ErrorCode::kInvalidArgument ? kUsage : kFailed);
}

}  // namespace

void AddEvalGenerateCommand(CLI::App* eval, Action* action) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command =
      eval->add_subcommand("generate", "Make long records of known answer for the embedded model");
  command->add_option("--task", options->task, "needle, multikey or kv_recall")
      ->type_name("NAME")
      ->capture_default_str();
  command->add_option("--tokens", options->tokens, "Length of each prompt, at most")
      ->check(CLI::PositiveNumber)
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--count", options->count, "How many records")
      ->check(CLI::PositiveNumber)
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Equal seeds give equal records everywhere")
      ->type_name("S")
      ->capture_default_str();
  command
      ->add_option("--depth", options->depth,
                   "Where the fact stands, 0 to 1; default: spread over the records")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("D");
  command->add_option("--model", options->model, "Folder with tasks.json and the tokenizer")
      ->type_name("DIR")
      ->envname("MODEL_PATH")
      ->required();
  command->add_option("--out", options->out, "LongBench records, a line each")
      ->type_name("FILE.jsonl")
      ->required();
  command->footer(
      "Example:\n"
      "  esa eval generate --task needle --tokens 8192 --count 20 --model models/esa-needle \\\n"
      "      --out needle.jsonl");
  OnCall(command, action, options, &Generate);
}

}  // namespace esa::cli
