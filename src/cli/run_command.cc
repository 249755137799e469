#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/json_text.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "esa/llm.h"
#include "eval/cost.h"

namespace esa::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

struct RunOptions {
  EngineFlags engine;
  std::vector<std::string> prompts;
  std::vector<std::string> files;
  std::vector<std::string> chats;
  SamplingParams sampling;
  bool json = false;
};

Result<std::string> ReadFileOrStdin(const std::string& path) {
  if (path != "-") return ReadWholeFile(path);
  return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
}

// [{"role": ..., "content": ...}, ...], or such a list under "messages".
Result<std::vector<Message>> ReadMessages(const std::string& path) {
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  std::vector<Message> messages;
  try {
    nlohmann::json list = nlohmann::json::parse(text);
    if (list.is_object()) list = list.at("messages");
    for (const nlohmann::json& item : list) {
      messages.push_back({.role = item.at("role"), .content = item.at("content")});
    }
  } catch (const nlohmann::json::exception& e) {
    return DataError(fmt::format("{}: expected a list of messages with role and content: {}", path,
                                 JsonErrorText(e.what())));
  }
  if (messages.empty()) return DataError(path + ": no messages in it");
  return messages;
}

Result<std::vector<Prompt>> ReadPrompts(const RunOptions& options) {
  std::vector<Prompt> prompts;
  for (const std::string& text : options.prompts) prompts.emplace_back().prompt = text;
  for (const std::string& path : options.files) {
    ESA_ASSIGN_OR_RETURN(prompts.emplace_back().prompt, ReadFileOrStdin(path));
  }
  for (const std::string& chat : options.chats) {
    Prompt& prompt = prompts.emplace_back();
    if (chat.ends_with(".json")) {
      ESA_ASSIGN_OR_RETURN(prompt.messages, ReadMessages(chat));
    } else {
      prompt.messages = {{.role = "user", .content = chat}};
    }
  }
  return prompts;
}

OrderedJson ToJson(const Completion& completion) {
  return {{"text", completion.text},
          {"token_ids", completion.token_ids},
          {"finish_reason", completion.finish_reason},
          {"stats", OrderedJson::parse(CostJson({&completion.stats, 1}))}};
}

void PrintJson(const LLM& llm, const std::vector<Completion>& completions) {
  OrderedJson list = OrderedJson::array();
  for (const Completion& completion : completions) list.push_back(ToJson(completion));
  const OrderedJson all = {{"model", llm.config().model_dir},
                           {"sparse", llm.config().sparse.name},
                           {"weight_bytes", llm.weight_bytes()},
                           {"kv_bytes_per_token", llm.kv_bytes_per_token()},
                           {"completions", std::move(list)}};
  fmt::print("{}\n", all.dump(1, ' ', false, OrderedJson::error_handler_t::replace));
}

void PrintStats(const LLM& llm, const std::vector<Completion>& completions) {
  for (std::size_t i = 0; i < completions.size(); ++i) {
    const RequestStats& stats = completions[i].stats;
    fmt::print(stderr, "{} ({}{})\n{}",
               completions.size() > 1 ? fmt::format("prompt {}", i + 1) : "stats",
               llm.config().sparse.name,
               stats.sparse                          ? ""
               : llm.config().sparse.name == "dense" ? ""
                                                     : ", attended densely",
               CostText({&stats, 1}));
  }
}

// The text of a single prompt has been streamed.
void PrintTexts(const std::vector<Completion>& completions) {
  if (completions.size() == 1) {
    fmt::print("\n");
  } else {
    for (std::size_t i = 0; i < completions.size(); ++i) {
      fmt::print("--- {} ---\n{}\n", i + 1, completions[i].text);
    }
  }
  std::fflush(stdout);
}

std::vector<RequestStats> StatsOf(const std::vector<Completion>& completions) {
  std::vector<RequestStats> stats;
  for (const Completion& completion : completions) stats.push_back(completion.stats);
  return stats;
}

Result<std::vector<Completion>> Generate(LLM* llm, const std::vector<Prompt>& prompts,
                                         const RunOptions& options) {
  Progress progress("reading the prompt", !options.json);
  const bool stream = !options.json && prompts.size() == 1;
  const auto on_text = [&](std::size_t, std::string_view text) {
    progress.Clear();
    if (!stream) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  const auto on_progress = [&](std::size_t index, double fraction) {
    const double done =
        (static_cast<double>(index) + fraction) / static_cast<double>(prompts.size());
    progress.Update(done);
    if (done >= 1) progress.Clear();
  };
  return llm->Generate(prompts, options.sampling, on_text, on_progress);
}

int Run(const RunOptions& options) {
  const auto prompts = ReadPrompts(options);
  if (!prompts) return Fail(prompts.error());
  if (prompts->empty()) {
    return Fail(InvalidArgument("nothing to answer: give --prompt, --file or --chat"), kUsage);
  }
  const auto config = options.engine.Resolve();
  if (!config) return Fail(config.error(), kUsage);
  auto llm = LLM::Open(*config);
  if (!llm) return Fail(llm.error());
  const auto completions = Generate(llm->get(), *prompts, options);
  const Status metrics = options.engine.WriteMetrics(**llm);  // failures are counted there too
  if (!completions) return Fail(completions.error());
  if (options.json) {
    PrintJson(**llm, *completions);
  } else {
    PrintTexts(*completions);
    PrintStats(**llm, *completions);
  }
  if (!metrics) return Fail(metrics.error());
  return ReportStore(StatsOf(*completions));
}

void AddSamplingFlags(CLI::App* command, SamplingParams* params) {
  constexpr const char* kGroup = "Sampling";
  const auto add = [&](const char* flag, auto* value, const char* what, auto least, auto most) {
    command->add_option(flag, *value, what)
        ->check(CLI::Range(least, most))
        ->type_name("N")
        ->capture_default_str()
        ->group(kGroup);
  };
  add("--max-tokens", &params->max_tokens, "Most tokens to answer with", 1, 1 << 30);
  add("--temperature", &params->temperature, "0: always the most probable token", 0.0, 100.0);
  add("--top-k", &params->top_k, "Only the k most probable; 0: off", 0, 1 << 30);
  add("--top-p", &params->top_p, "Only the most probable up to this sum", 0.0, 1.0);
  add("--min-p", &params->min_p, "Only those of this part of the most probable's", 0.0, 1.0);
  add("--repetition-penalty", &params->repetition_penalty, "Above 1: less repetition", 0.01, 100.0);
  command->add_option("--seed", params->seed, "Of the draw")->type_name("N")->group(kGroup);
  command->add_option("--stop", params->stop, "End before this text; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(kGroup);
  command->add_flag("--ignore-eos", params->ignore_eos, "Go on after the end token")->group(kGroup);
}

}  // namespace

void AddRunCommand(CLI::App* app, Action* action) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app->add_subcommand("run", "Answer prompts; the text streams to stdout");
  command->add_option("--prompt", options->prompts, "Text to go on from; repeated: a batch")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command->add_option("--file", options->files, "File with such a text; -: stdin")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command
      ->add_option("--chat", options->chats,
                   "What the user says, or a .json file with a list of messages")
      ->type_name("TEXT|FILE.json")
      ->allow_extra_args(false);
  command->add_flag("--json", options->json, "One JSON object with texts and stats on stdout");
  options->engine.AddMetricsTo(command);
  AddSamplingFlags(command, &options->sampling);
  options->engine.AddTo(command);
  command->footer(
      "Examples:\n"
      "  esa run --model DIR --prompt \"Once upon a time\" --max-tokens 64\n"
      "  esa run --model DIR --chat \"Why is the sky blue?\"\n"
      "  cat book.txt | esa run --model DIR --file - --store /ssd/kv --kv-memory 512MiB\n"
      "  esa run --model DIR --file book.txt --sparse ESA --sparse-config '{\"sparse_ratio\": "
      "0.1}'");
  OnCall(command, action, options, &Run);
}

}  // namespace esa::cli
