#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include "base/progress.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "cli/command.h"
#include "cli/demo_report.h"
#include "cli/engine_flags.h"
#include "cli/llm_evaluation.h"

namespace esa::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct DemoOptions {
  std::string model = "models/esa-needle";
  std::string out;
  std::string task = "needle";
  std::int64_t records = 20;
  std::int64_t tokens = 8192;
  std::uint64_t seed = 2026;
  int block_tokens = 32;
  double sparse_ratio = 0.2;
  int retrieval_stride = 5;
  int threads = 0;
  bool json = false;
};

class Demo {
 public:
  explicit Demo(const DemoOptions& options) : options_(options) {}

  Status Run() {
    const Clock::time_point start = Clock::now();
    ESA_RETURN_IF_ERROR(Prepare());
    ESA_RETURN_IF_ERROR(RunPass(DensePass()));
    ESA_RETURN_IF_ERROR(RunPass(EsaPass("ESA", "esa_cold")));
    ESA_RETURN_IF_ERROR(RunPass(EsaPass("ESA, restored", "esa_restored")));
    report_.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const std::string json = DemoJson(report_);
    ESA_RETURN_IF_ERROR(ReplaceFile(options_.out + "/report.json", json));
    fmt::print("{}", options_.json ? json : DemoTable(report_));
    if (!options_.json) fmt::print("written to {}/report.json\n", options_.out);
    return {};
  }

  const DemoReport& report() const { return report_; }

 private:
  // What a pass needs beside the records. Each opens the model anew, as after a restart.
  struct Plan {
    DemoPass pass;
    EngineConfig config;
  };

  Status Prepare() {
    // Only folders of the demo's own: what an earlier one left would be resumed and restored.
    for (const char* name : {"store", "dense", "esa_cold", "esa_restored"}) {
      std::error_code error;
      std::filesystem::remove_all(options_.out + "/" + name, error);
      if (error) {
        return IoError(
            fmt::format("{}/{}: cannot be removed: {}", options_.out, name, error.message()));
      }
    }
    std::error_code error;
    std::filesystem::create_directories(options_.out, error);
    if (error) return IoError(fmt::format("{}: cannot be made: {}", options_.out, error.message()));
    ESA_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(options_.model));
    ESA_ASSIGN_OR_RETURN(const TaskGenerator generator,
                         TaskGenerator::Load(options_.model + "/tasks.json"));
    const TaskRequest first{
        .task = options_.task, .tokens = options_.tokens, .seed = options_.seed};
    ESA_ASSIGN_OR_RETURN(
        records_, generator.GenerateMany(first, options_.records, CounterOf(tokenizer_.get())));
    ESA_RETURN_IF_ERROR(WriteRecords());
    report_.model = options_.model;
    report_.task = options_.task;
    report_.tokens = options_.tokens;
    report_.records = records_.size();
    return {};
  }

  Status WriteRecords() const {
    std::string lines;
    for (const Record& record : records_) lines += ToJsonLine(record) + "\n";
    return ReplaceFile(options_.out + "/" + options_.task + ".jsonl", lines);
  }

  Plan BasePlan(const std::string& name, const std::string& key) const {
    Plan plan;
    plan.pass.name = name;
    plan.pass.key = key;
    plan.config.model_dir = options_.model;
    plan.config.block_tokens = options_.block_tokens;
    plan.config.prefill_chunk_tokens =
        std::max(1, 512 / options_.block_tokens) * options_.block_tokens;
    plan.config.threads = options_.threads;
    return plan;
  }

  Plan DensePass() const {
    Plan plan = BasePlan("dense", "dense");
    plan.config.sparse = {.name = "dense", .options = {}};
    return plan;
  }

  Plan EsaPass(const std::string& name, const std::string& key) const {
    Plan plan = BasePlan(name, key);
    plan.config.sparse = {
        .name = "ESA",
        .options = {{"sparse_ratio", options_.sparse_ratio},
                    {"retrieval_stride", std::int64_t{options_.retrieval_stride}}}};
    plan.config.kv_memory_bytes = report_.prompt_kv_bytes / 4;
    plan.config.store.storage_backends = {options_.out + "/store"};
    return plan;
  }

  Status RunPass(Plan plan) {
    ESA_ASSIGN_OR_RETURN(const auto llm, LLM::Open(plan.config));
    EvaluationRequest request;
    ESA_ASSIGN_OR_RETURN(request.dataset, FindDataset(options_.task));
    ESA_ASSIGN_OR_RETURN(request.style, ChoosePromptStyle(request.dataset, ""));
    request.max_prompt_tokens = options_.tokens;
    request.out_dir = options_.out + "/" + plan.pass.key;
    request.settings = DescribeSettings(plan.config);
    Progress progress(fmt::format("{:<14}", plan.pass.name));
    ESA_ASSIGN_OR_RETURN(plan.pass.result,
                         Evaluate(request, records_, AsEvaluationModel(llm.get(), tokenizer_.get()),
                                  [&](std::size_t done, std::size_t total, double prefill) {
                                    progress.Update((static_cast<double>(done) + 0.9 * prefill) /
                                                    static_cast<double>(total));
                                  }));
    ESA_ASSIGN_OR_RETURN(const std::vector<Prediction> predictions,
                         ReadPredictions(request.out_dir + "/" + options_.task + ".jsonl"));
    for (const Prediction& prediction : predictions) plan.pass.answers.push_back(prediction.pred);
    plan.pass.sparse = plan.config.sparse.name;
    plan.pass.kv_memory_bytes = plan.config.kv_memory_bytes;
    Measure(*llm, plan.pass);
    report_.passes.push_back(std::move(plan.pass));
    return {};
  }

  // The first, dense pass says how much KV a prompt has, which the others' budgets follow.
  void Measure(const LLM& llm, const DemoPass& pass) {
    if (report_.prompt_kv_bytes > 0) return;
    std::int64_t longest = 0;
    for (const RequestStats& stats : pass.result.costs) {
      longest = std::max(longest, stats.prompt_tokens);
    }
    report_.prompt_kv_bytes = static_cast<std::uint64_t>(longest) * llm.kv_bytes_per_token();
    report_.weight_bytes = llm.weight_bytes();
  }

  const DemoOptions& options_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<Record> records_;
  DemoReport report_;
};

int RunDemo(const DemoOptions& options) {
  Demo demo(options);
  const Status status = demo.Run();
  if (!status) return Fail(status.error());
  for (const DemoPass& pass : demo.report().passes) {
    if (const int code = ReportStore(pass.result.costs); code != kDone) return code;
  }
  return kDone;
}

}  // namespace

void AddDemoCommand(CLI::App* app, Action* action) {
  auto options = std::make_shared<DemoOptions>();
  CLI::App* command = app->add_subcommand(
      "demo", "Long generated records: dense, ESA in a quarter of the memory, ESA after a restart");
  const auto add = [&](const char* flag, auto* value, const char* what) {
    return command->add_option(flag, *value, what)->type_name("N")->capture_default_str();
  };
  add("--model", &options->model, "Folder of the model, with its tasks.json")->type_name("DIR");
  command->add_option("--out", options->out, "Folder for records, answers, store and report.json")
      ->type_name("DIR")
      ->required();
  add("--task", &options->task, "needle, multikey or kv_recall")->type_name("NAME");
  add("--records", &options->records, "How many")->check(CLI::PositiveNumber);
  add("--tokens", &options->tokens, "Length of each prompt, at most")->check(CLI::PositiveNumber);
  add("--seed", &options->seed, "Of the records");
  add("--block-tokens", &options->block_tokens, "Tokens of a block")->check(CLI::Range(1, 512));
  add("--sparse-ratio", &options->sparse_ratio, "ESA's part of the blocks between its windows")
      ->check(CLI::Range(0.0, 1.0));
  add("--retrieval-stride", &options->retrieval_stride, "ESA's steps between selections")
      ->check(CLI::Range(3, 1000));
  add("--threads", &options->threads, "For compute; 0: all cores")->check(CLI::Range(0, 4096));
  command->add_flag("--json", options->json, "report.json on stdout in place of the table");
  command->footer(
      "ESA's memory for KV is a quarter of one prompt's. Folders store, dense, esa_cold and\n"
      "esa_restored in the output folder are replaced.\n\n"
      "Example:\n  esa demo --model models/esa-needle --out build/demo");
  OnCall(command, action, options, &RunDemo);
}

}  // namespace esa::cli
