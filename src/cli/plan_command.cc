#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/progress.h"
#include "base/status_macros.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/plan/engine_plan.h"
#include "eval/cost.h"

namespace esa::cli {
namespace {

struct PlanOptions {
  EngineFlags engine;
  std::int64_t context = 131072;
  std::string disk = "2GB";
  double reuse = 0.7;
  bool json = false;
};

Result<PlanRequest> ToRequest(const PlanOptions& options) {
  PlanRequest request;
  request.context = options.context;
  request.reuse = options.reuse;
  ESA_ASSIGN_OR_RETURN(request.engine, options.engine.Resolve());
  ESA_ASSIGN_OR_RETURN(request.shape, ReadModelConfig(request.engine.model_dir));
  ESA_ASSIGN_OR_RETURN(const std::uint64_t disk, ParseBytes(options.disk));
  request.disk_bytes = static_cast<double>(disk);
  if (disk == 0) return InvalidArgument("--disk: a disk that reads nothing");
  return request;
}

void PrintJson(const PlanRequest& request, const Plan& plan) {
  const nlohmann::ordered_json json = {
      {"model", request.engine.model_dir},
      {"context", request.context},
      {"sparse", request.engine.sparse.name},
      {"weights", WeightTypeNames()[static_cast<std::size_t>(request.engine.weights.type)]},
      {"reuse", request.reuse},
      {"disk_bytes_per_second", request.disk_bytes},
      {"read_bytes_per_second", request.ceilings.read_bytes},
      {"weight_bytes", plan.weight_bytes},
      {"step_weight_bytes", plan.step_weight_bytes},
      {"kv_bytes_per_token", plan.kv_bytes_per_token},
      {"kv_bytes", plan.kv_bytes},
      {"layer_kv_bytes", plan.layer_kv_bytes},
      {"working_set_bytes", plan.working_set_bytes},
      {"representation_bytes", plan.representation_bytes},
      {"hidden_bytes", plan.hidden_bytes},
      {"attended_bytes_per_step", plan.attended_bytes},
      {"loaded_bytes_per_step", plan.loaded_bytes_per_step},
      {"needed_disk_bytes_per_second", plan.needed_disk_bytes},
      {"decode_tokens_per_second", 1 / (plan.step_seconds + plan.stall_seconds)},
      {"dense_decode_tokens_per_second", 1 / plan.dense_step_seconds},
      {"stall_seconds_per_step", plan.stall_seconds},
      {"prefill_seconds", plan.prefill_seconds},
      {"fits_kv_memory", plan.fits_kv_memory}};
  fmt::print("{}\n", json.dump(1));
}

void PrintText(const PlanRequest& request, const Plan& plan) {
  const auto line = [](const char* label, const std::string& what) {
    fmt::print("  {:<20}{}\n", label, what);
  };
  fmt::print("{}, {} tokens, {}\n{}\n", request.engine.model_dir, request.context,
             request.engine.sparse.name, CeilingsText(request.ceilings));
  line("weights", fmt::format("{} in memory, {} read by each step", ShortBytes(plan.weight_bytes),
                              ShortBytes(plan.step_weight_bytes)));
  line("KV",
       fmt::format("{} a token, {} in all, {} of one layer", ShortBytes(plan.kv_bytes_per_token),
                   ShortBytes(plan.kv_bytes), ShortBytes(plan.layer_kv_bytes)));
  line("KV memory", fmt::format("{} working set, {} for prefill of one layer: {} --kv-memory {}",
                                ShortBytes(plan.working_set_bytes), ShortBytes(plan.layer_kv_bytes),
                                plan.fits_kv_memory ? "fits in" : "MORE THAN",
                                ShortBytes(static_cast<double>(request.engine.kv_memory_bytes))));
  line("beside it",
       fmt::format("{} of representations, {} of hidden states in prefill",
                   ShortBytes(plan.representation_bytes), ShortBytes(plan.hidden_bytes)));
  line("loads", fmt::format("{} a step with {:.0f}% reuse: {}/s of {}/s",
                            ShortBytes(plan.loaded_bytes_per_step), 100 * request.reuse,
                            ShortBytes(plan.needed_disk_bytes), ShortBytes(request.disk_bytes)));
  line("decode",
       fmt::format("{:.1f} tokens/s, of it {:.1f} ms a step waiting for the disk",
                   1 / (plan.step_seconds + plan.stall_seconds), 1e3 * plan.stall_seconds));
  line("dense, in memory", fmt::format("{:.1f} tokens/s", 1 / plan.dense_step_seconds));
  line("prefill", ShortDuration(plan.prefill_seconds));
}

int RunPlan(const PlanOptions& options) {
  auto request = ToRequest(options);
  if (!request) return Fail(request.error(), kUsage);
  request->ceilings = MeasureCeilings(request->engine.threads);
  const auto plan = MakePlan(*request);
  if (!plan) return Fail(plan.error(), kUsage);
  options.json ? PrintJson(*request, *plan) : PrintText(*request, *plan);
  return kDone;
}

}  // namespace

void AddPlanCommand(CLI::App* app, Action* action) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command = app->add_subcommand(
      "plan", "What a model needs at a context, and how fast it can be, before it is run");
  command->add_option("--context", options->context, "Tokens of the prompt")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->capture_default_str();
  command->add_option("--disk", options->disk, "What the disk reads a second")
      ->check(Size())
      ->capture_default_str();
  command
      ->add_option("--reuse", options->reuse,
                   "Part of a selection that the one before had too; esa run says it")
      ->type_name("SHARE")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_flag("--json", options->json, "JSON on stdout");
  options->engine.AddTo(command);
  command->footer(
      "Needs config.json alone. The speed of memory and of arithmetic is measured, which takes\n"
      "a second; that of the disk is given (esa store bench measures it). Speeds are what these\n"
      "allow: 80% of the one, 60% of the other, as esa bench finds.\n\n"
      "Example:\n"
      "  esa plan --model DIR --context 200000 --sparse ESA --weights int8 --kv-memory 2GiB");
  OnCall(command, action, options, &RunPlan);
}

}  // namespace esa::cli
