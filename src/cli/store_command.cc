#include <fmt/chrono.h>
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "eval/cost.h"
#include "store/store_inspect.h"

namespace esa::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

struct StatOptions {
  std::vector<std::string> folders;
  bool json = false;
};

OrderedJson ToJson(const std::string& folder, const StoreSummary& summary) {
  OrderedJson layouts = OrderedJson::array();
  for (const auto& [layout, blocks] : summary.layouts) {
    layouts.push_back({{"blocks", blocks},
                       {"block_tokens", layout.block_tokens},
                       {"num_slices", layout.num_slices},
                       {"slice_bytes", layout.slice_bytes},
                       {"representation_bytes", layout.representation_bytes}});
  }
  return {{"folder", folder},
          {"blocks", summary.blocks},
          {"bytes", summary.bytes},
          {"temporaries", summary.temporaries},
          {"temporary_bytes", summary.temporary_bytes},
          {"quarantined", summary.quarantined},
          {"unreadable", summary.unreadable},
          {"oldest_use_us", summary.oldest_use_us},
          {"newest_use_us", summary.newest_use_us},
          {"layouts", std::move(layouts)}};
}

std::string Time(std::int64_t microseconds) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}",
                     fmt::localtime(static_cast<std::time_t>(microseconds / 1'000'000)));
}

void Print(const std::string& folder, const StoreSummary& summary) {
  fmt::print("{}\n", folder);
  fmt::print("  blocks       {} ({})\n", summary.blocks,
             ShortBytes(static_cast<double>(summary.bytes)));
  for (const auto& [layout, blocks] : summary.layouts) {
    fmt::print("  layout       {} blocks of {} tokens: {} slices of {}, {} B to represent each\n",
               blocks, layout.block_tokens, layout.num_slices,
               ShortBytes(static_cast<double>(layout.slice_bytes)), layout.representation_bytes);
  }
  if (summary.blocks > 0) {
    fmt::print("  last used    {} to {}\n", Time(summary.oldest_use_us),
               Time(summary.newest_use_us));
  }
  fmt::print("  being written, or left over  {} ({})\n", summary.temporaries,
             ShortBytes(static_cast<double>(summary.temporary_bytes)));
  fmt::print("  quarantined  {}, unreadable {}\n", summary.quarantined, summary.unreadable);
}

int Stat(const StatOptions& options) {
  OrderedJson all = OrderedJson::array();
  for (const std::string& folder : options.folders) {
    const auto summary = InspectFolder(folder);
    if (!summary) return Fail(summary.error());
    if (options.json) {
      all.push_back(ToJson(folder, *summary));
    } else {
      Print(folder, *summary);
    }
  }
  if (options.json) fmt::print("{}\n", OrderedJson{{"folders", std::move(all)}}.dump(1));
  return kDone;
}

}  // namespace

void AddStoreCommand(CLI::App* app, Action* action) {
  CLI::App* store = app->add_subcommand("store", "Look at folders with stored KV blocks");
  store->require_subcommand(1);
  auto options = std::make_shared<StatOptions>();
  CLI::App* command =
      store->add_subcommand("stat", "What lies in a folder: blocks, bytes, layouts");
  command->add_option("--store", options->folders, "Folder of the posix store; may be repeated")
      ->type_name("DIR")
      ->allow_extra_args(false)
      ->envname("DATA_DIR")
      ->required();
  command->add_flag("--json", options->json, "JSON on stdout");
  command->footer(
      "Changes nothing, and may run while the store is in use.\n\n"
      "Example:\n  esa store stat --store /ssd/kv");
  OnCall(command, action, options, &Stat);
  AddStoreBenchCommand(store, action);
}

}  // namespace esa::cli
