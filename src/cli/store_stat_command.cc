#include <fmt/format.h>

#include <memory>

#include "cli/store_commands.h"
#include "eval/cost.h"
#include "store/block_chains.h"

namespace esa::cli {
namespace {

OrderedJson SummaryJson(const std::string& folder, const StoreSummary& summary) {
  OrderedJson layouts = OrderedJson::array();
  for (const auto& [layout, blocks, bytes] : summary.layouts) {
    OrderedJson& json = layouts.emplace_back(OrderedJson{{"blocks", blocks}, {"bytes", bytes}});
    json.update(ToJson(layout));
  }
  return {{"folder", folder},
          {"blocks", summary.blocks},
          {"bytes", summary.bytes},
          {"open", summary.open.count},
          {"open_bytes", summary.open.bytes},
          {"leftovers", summary.leftovers.count},
          {"leftover_bytes", summary.leftovers.bytes},
          {"quarantined", summary.quarantined.count},
          {"quarantined_bytes", summary.quarantined.bytes},
          {"unreadable", summary.unreadable},
          {"oldest_use_us", summary.oldest_use_us},
          {"newest_use_us", summary.newest_use_us},
          {"filesystem_bytes", summary.filesystem_bytes},
          {"filesystem_free_bytes", summary.filesystem_free_bytes},
          {"layouts", std::move(layouts)}};
}

void PrintSummary(const std::string& folder, const StoreSummary& summary) {
  fmt::print("{}\n", folder);
  fmt::print("  blocks       {} ({})\n", summary.blocks,
             ShortBytes(static_cast<double>(summary.bytes)));
  for (const auto& [layout, blocks, bytes] : summary.layouts) {
    fmt::print("  layout       {} ({}) of {} tokens: {} slices of {}, {} B to represent each\n",
               blocks, ShortBytes(static_cast<double>(bytes)), layout.block_tokens,
               layout.num_slices, ShortBytes(static_cast<double>(layout.slice_bytes)),
               layout.representation_bytes);
  }
  if (summary.blocks > 0) {
    fmt::print("  last used    {} to {}\n", LocalTime(summary.oldest_use_us),
               LocalTime(summary.newest_use_us));
  }
  fmt::print("  open         {} being written\n", Amount(summary.open, "block"));
  fmt::print("  leftovers    {} of writers that died\n", Amount(summary.leftovers, "file"));
  fmt::print("  quarantined  {}, unreadable {}\n", Amount(summary.quarantined, "block"),
             summary.unreadable);
  if (summary.filesystem_bytes > 0) {
    fmt::print("  filesystem   {} free of {}\n",
               ShortBytes(static_cast<double>(summary.filesystem_free_bytes)),
               ShortBytes(static_cast<double>(summary.filesystem_bytes)));
  }
}

int Stat(const StoreFlags& flags) {
  OrderedJson all = OrderedJson::array();
  std::vector<BlockInfo> blocks;
  for (const std::string& folder : flags.folders) {
    const auto summary = InspectFolder(folder, &blocks);
    if (!summary) return Fail(summary.error());
    if (flags.json) {
      all.push_back(SummaryJson(folder, *summary));
    } else {
      PrintSummary(folder, *summary);
    }
  }
  // Over all folders: blocks are spread over them by id.
  const BlockChains chains(blocks);
  if (flags.json) {
    const OrderedJson json = {
        {"starts", chains.starts()}, {"ends", chains.ends()}, {"longest_blocks", chains.longest()}};
    PrintJson({{"folders", std::move(all)}, {"chains", json}});
  } else {
    fmt::print("chains         {}, the longest has {} blocks; {} blocks continue none\n",
               chains.ends(), chains.longest(), chains.starts());
  }
  return kDone;
}

}  // namespace

void AddStoreStatCommand(CLI::App* store, Action* action) {
  auto flags = std::make_shared<StoreFlags>();
  CLI::App* command =
      store->add_subcommand("stat", "What lies in a folder: blocks, bytes, layouts, chains");
  flags->AddTo(command);
  command->footer(
      "A chain is a sequence of blocks that each continue the one before; give all folders of a\n"
      "store, since it spreads the blocks of one over them. Changes nothing, and may run while "
      "the\n"
      "store is in use.\n\n"
      "Example:\n  esa store stat --store /ssd/kv");
  OnCall(command, action, flags, &Stat);
}

}  // namespace esa::cli
