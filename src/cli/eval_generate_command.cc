#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "cli/command.h"
#include "cli/llm_evaluation.h"

namespace esa::cli {
namespace {

struct GenerateOptions {
  std::string model;
  std::vector<std::string> tasks = {"needle"};
  std::vector<std::int64_t> tokens = {8192};
  std::int64_t count = 20;
  std::uint64_t seed = 0;
  std::vector<double> depths;
  std::string haystack;
  std::vector<std::string> qa_data;
  std::string out;
};

// The tasks that are named, in order; for "all" those of RULER that there is data for.
std::vector<std::string> TasksOf(const GenerateOptions& options, const TaskGenerator& generator) {
  std::vector<std::string> tasks;
  std::vector<std::string> left_out;
  for (const std::string& name : options.tasks) {
    if (name != "all") {
      tasks.push_back(name);
      continue;
    }
    for (const std::string& task : TaskGenerator::RulerTaskNames()) {
      (generator.CanMake(task) ? tasks : left_out).push_back(task);
    }
  }
  if (!left_out.empty()) {
    fmt::print(stderr, "without {}: give --qa-data FILE for them\n", fmt::join(left_out, ", "));
  }
  return tasks;
}

class RecordWriter {
 public:
  RecordWriter(const GenerateOptions& options, const TaskGenerator& generator, TokenCounter counter)
      : options_(options),
        generator_(generator),
        counter_(std::move(counter)),
        tasks_(TasksOf(options, generator)),
        progress_("generating") {}

  Status WriteAll() {
    ESA_RETURN_IF_ERROR(MakeFolder());
    for (const std::string& task : tasks_) {
      for (const std::int64_t tokens : options_.tokens) {
        ESA_RETURN_IF_ERROR(WriteFile({.task = task, .tokens = tokens, .seed = options_.seed}));
      }
    }
    return {};
  }

 private:
  std::size_t num_files() const { return tasks_.size() * options_.tokens.size(); }

  bool in_folder() const {
    std::error_code ignored;
    return num_files() > 1 || options_.out.ends_with('/') ||
           std::filesystem::is_directory(options_.out, ignored);
  }

  Status MakeFolder() const {
    if (!in_folder()) return {};
    std::error_code error;
    std::filesystem::create_directories(options_.out, error);
    if (!error) return {};
    return IoError(fmt::format("{}: cannot be made a folder: {}", options_.out, error.message()));
  }

  std::string PathOf(const TaskRequest& request) const {
    if (!in_folder()) return options_.out;
    const std::string name = fmt::format("{}_{}.jsonl", request.task, request.tokens);
    return (std::filesystem::path(options_.out) / name).string();
  }

  Status WriteFile(TaskRequest request) {
    std::string lines;
    std::int64_t num_records = 0;
    for (std::int64_t i = 0; i < options_.count; ++i) {
      request.index = static_cast<std::uint64_t>(i);
      ESA_ASSIGN_OR_RETURN(const std::vector<Record> records, AtEachDepth(request));
      for (const Record& record : records) lines += ToJsonLine(record) + "\n";
      num_records += static_cast<std::int64_t>(records.size());
      ++done_;
      const auto all = options_.count * static_cast<std::int64_t>(num_files());
      progress_.Update(static_cast<double>(done_) / static_cast<double>(all));
    }
    const std::string path = PathOf(request);
    ESA_RETURN_IF_ERROR(ReplaceFile(path, lines));
    progress_.Clear();
    fmt::print(stderr, "{}: {} records of task {}, at most {} tokens each\n", path, num_records,
               request.task, request.tokens);
    return {};
  }

  // One text with its fact at each of the depths that were given; one record where none were, or
  // where the task has no such fact.
  Result<std::vector<Record>> AtEachDepth(TaskRequest request) const {
    std::vector<Record> records;
    std::vector<std::optional<double>> depths(options_.depths.begin(), options_.depths.end());
    if (depths.empty()) depths.push_back(OwnDepth(request));
    for (const std::optional<double> depth : depths) {
      request.depth = depth;
      ESA_ASSIGN_OR_RETURN(Record record, generator_.Generate(request, counter_));
      const bool has_depth = record.depth.has_value();
      if (has_depth && depths.size() > 1) record.id += fmt::format("-{}", *record.depth);
      records.push_back(std::move(record));
      if (!has_depth) break;
    }
    return records;
  }

  // RULER draws its depths; those of the model's own tasks are spread over the records.
  std::optional<double> OwnDepth(const TaskRequest& request) const {
    if (TaskGenerator::IsRulerTask(request.task)) return std::nullopt;
    return (static_cast<double>(request.index) + 0.5) / static_cast<double>(options_.count);
  }

  const GenerateOptions& options_;
  const TaskGenerator& generator_;
  TokenCounter counter_;
  std::vector<std::string> tasks_;
  Progress progress_;
  std::int64_t done_ = 0;
};

Status WriteRecords(const GenerateOptions& options) {
  ESA_ASSIGN_OR_RETURN(const TaskGenerator generator,
                       TaskGenerator::Open({.tasks_json = options.model + "/tasks.json",
                                            .haystack = options.haystack,
                                            .qa_data = options.qa_data}));
  ESA_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(options.model));
  return RecordWriter(options, generator, CounterOf(tokenizer.get())).WriteAll();
}

int Generate(const GenerateOptions& options) {
  const Status status = WriteRecords(options);
  if (status.ok()) return kDone;
  return Fail(status.error(),
              status.error().code == ErrorCode::kInvalidArgument ? kUsage : kFailed);
}

void AddWhatIsMade(CLI::App* command, GenerateOptions* options) {
  command
      ->add_option(
          "--task", options->tasks,
          "needle, multikey, kv_recall of the model's tasks.json, answered in a sentence with "
          "_sentence behind the name; RULER's niah_single_1, vt, cwe, ...; all: all of "
          "RULER's. Several with commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAME,...")
      ->capture_default_str();
  command
      ->add_option("--tokens", options->tokens,
                   "Length of each prompt, at most; of RULER's together with the answer")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::PositiveNumber)
      ->type_name("N,...")
      ->capture_default_str();
  command->add_option("--count", options->count, "How many records of each")
      ->check(CLI::PositiveNumber)
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Equal seeds give equal records everywhere")
      ->type_name("S")
      ->capture_default_str();
  command
      ->add_option(
          "--depth", options->depths,
          "Where the one fact asked for stands, 0 to 1; each record once at each. Default: "
          "spread over the records, or as RULER draws it")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("D,...");
}

}  // namespace

void AddEvalGenerateCommand(CLI::App* eval, Action* action) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = eval->add_subcommand(
      "generate", "Make long records of known answer: the embedded model's tasks, and RULER's");
  AddWhatIsMade(command, options.get());
  command->add_option("--model", options->model, "Folder with the tokenizer, and with tasks.json")
      ->type_name("DIR")
      ->envname("MODEL_PATH")
      ->required();
  command
      ->add_option("--haystack", options->haystack,
                   "Prose for RULER's needles: a text, or JSON with \"text\"; default: filler")
      ->type_name("FILE");
  command
      ->add_option("--qa-data", options->qa_data,
                   "SQuAD's JSON for qa_1, HotpotQA's for qa_2; may be repeated")
      ->allow_extra_args(false)
      ->type_name("FILE.json");
  command
      ->add_option("--out", options->out,
                   "LongBench records, a line each; of several tasks or lengths, or where it is a "
                   "folder, TASK_TOKENS.jsonl in it")
      ->type_name("FILE.jsonl|DIR")
      ->required();
  command->footer(
      "Examples:\n"
      "  esa eval generate --task needle --tokens 8192 --count 20 --model models/esa-needle \\\n"
      "      --out needle.jsonl\n"
      "  esa eval generate --task all --tokens 8192,32768 --model DIR --out ruler\n"
      "  esa eval generate --task niah_single_2 --tokens 8192,32768 --depth 0,0.25,0.5,0.75,1 \\\n"
      "      --count 5 --haystack PaulGrahamEssays.json --model DIR --out heatmap");
  OnCall(command, action, options, &Generate);
}

}  // namespace esa::cli
