#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "cli/command.h"

#ifndef ESA_VERSION
#error "ESA_VERSION comes from the build"
#endif

namespace esa::cli {
namespace {

constexpr const char* kFooter =
    "Examples:\n"
    "  esa run --model DIR --prompt \"Once upon a time\"\n"
    "  esa run --model DIR --file book.txt --store /ssd/kv --kv-memory 1GiB\n"
    "  esa eval --model DIR --dataset hotpotqa --data hotpotqa.jsonl --out results\n"
    "  esa demo --model models/esa-needle --out build/demo\n"
    "\n"
    "Environment: MODEL_PATH (--model), DATA_DIR (--store), DATASET_PATH (eval --data),\n"
    "ENABLE_SPARSE (false: --sparse dense), ESA_JIEBA_DIR (word lists of the Chinese metrics).\n"
    "A flag goes over the environment, the environment over --config, that over the default.\n"
    "\n"
    "Exit codes: 0 done, 1 it did not work, 2 it was asked for wrongly.";

// A context has more blocks than the 1024 descriptors that are usual, and nothing here uses select,
// which they are kept low for.
void RaiseFileLimit() {
  constexpr rlim_t kEnough = 65536;
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kEnough) return;
  limit.rlim_cur = std::min(limit.rlim_max, kEnough);
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

// The innermost subcommand that was called.
const CLI::App* Called(const CLI::App* app) {
  const auto subcommands = app->get_subcommands();
  return subcommands.empty() ? app : Called(subcommands.front());
}

std::string FullName(const CLI::App* app) {
  const CLI::App* parent = app->get_parent();
  return parent == nullptr ? "esa" : FullName(parent) + " " + app->get_name();
}

// Threads of libgomp spin at the end of a parallel region, and by default for so long that they
// take cores from the I/O threads: up to 12 ms a region. Where they sleep at once, waking them
// costs a decode step of 200 regions a fifth of its time. So they spin for tens of microseconds,
// which is what lies between two regions. The variable is read when the library is loaded, so the
// program starts once more.
void WaitBriefly(char** argv) {
  constexpr const char* kSpins = "GOMP_SPINCOUNT";
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv(kSpins) != nullptr) return;
  if (setenv(kSpins, "3000", 0) != 0) return;
  execv("/proc/self/exe", argv);  // returns where it failed: then it spins
}

int Main(int argc, char** argv) {
  CLI::App app("Long-context LLM inference with block-sparse attention and KV blocks on SSD.",
               "esa");
  app.set_version_flag("--version", "esa " ESA_VERSION);
  app.set_help_all_flag("--help-all", "Help for every subcommand");
  app.require_subcommand(0, 1);
  app.footer(kFooter);
  Action action;
  AddRunCommand(&app, &action);
  AddEvalCommand(&app, &action);
  AddBenchCommand(&app, &action);
  AddPlanCommand(&app, &action);
  AddDemoCommand(&app, &action);
  AddTokenizeCommand(&app, &action);
  AddLogitsCommand(&app, &action);
  AddStoreCommand(&app, &action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(e);
    return Fail(InvalidArgument(fmt::format("{}; see {} --help", e.what(), FullName(Called(&app)))),
                kUsage);
  }
  if (action) return action();
  fmt::print("{}", app.help());
  return kDone;
}

}  // namespace

int Fail(const Error& error, int code) {
  std::string line = error.message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  fmt::print(stderr, "esa: {}\n", line);
  return code;
}

int ReportStore(std::span<const RequestStats> requests) {
  for (const RequestStats& stats : requests) {
    if (stats.store_error.empty()) continue;
    return Fail(IoError("the KV blocks were not stored: " + stats.store_error));
  }
  return kDone;
}

}  // namespace esa::cli

int main(int argc, char** argv) {
  esa::cli::WaitBriefly(argv);
  esa::cli::RaiseFileLimit();
  try {
    return esa::cli::Main(argc, argv);
  } catch (const std::exception& e) {
    return esa::cli::Fail(esa::IoError(e.what()));
  }
}
