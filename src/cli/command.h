// The subcommands of `esa`: each adds its flags to the parser and, where it was called, leaves what
// is to be done in `action`. One source a subcommand; main runs the action.
//
// Output a user asked for goes to stdout; progress, stats and errors go to stderr.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "esa/llm.h"
#include "esa/result.h"

namespace esa::cli {

// The exit codes of `esa`.
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;  // what was asked for did not work
inline constexpr int kUsage = 2;   // it was asked for wrongly: command line, environment, config

using Action = std::function<int()>;

void AddRunCommand(CLI::App* app, Action* action);
void AddBenchCommand(CLI::App* app, Action* action);
void AddEvalCommand(CLI::App* app, Action* action);
void AddEvalScoreCommand(CLI::App* eval, Action* action);
void AddEvalGenerateCommand(CLI::App* eval, Action* action);
void AddEvalCompareCommand(CLI::App* eval, Action* action);
void AddPlanCommand(CLI::App* app, Action* action);
void AddTokenizeCommand(CLI::App* app, Action* action);
void AddLogitsCommand(CLI::App* app, Action* action);
void AddStoreCommand(CLI::App* app, Action* action);
void AddStoreBenchCommand(CLI::App* store, Action* action);
void AddDemoCommand(CLI::App* app, Action* action);

// Prints "esa: message" on stderr, one line, and returns `code`.
int Fail(const Error& error, int code = kFailed);

// The exit code of requests that were answered: kDone, or, with a line on why, kFailed where KV
// blocks of one could not be stored.
int ReportStore(std::span<const RequestStats> requests);

// Makes `run` what the subcommand does; it returns an exit code.
template <class Options>
void OnCall(CLI::App* command, Action* action, std::shared_ptr<Options> options,
            int (*run)(const Options&)) {
  command->callback([=] { *action = [=] { return run(*options); }; });
}

}  // namespace esa::cli
