#include <fmt/format.h>

#include <limits>
#include <memory>

#include "cli/store_commands.h"
#include "eval/cost.h"
#include "store/block_chains.h"

namespace esa::cli {
namespace {

struct ListFlags {
  StoreFlags store;
  std::size_t limit = std::numeric_limits<std::size_t>::max();
  bool tree = false;
};

constexpr std::size_t kShortId = 8;

// A line of the list: a block, and with --tree its place.
using Place = BlockChains::Place;

std::vector<Place> Ordered(const BlockList& list, const ListFlags& flags) {
  std::vector<Place> places;
  if (flags.tree) {
    places = BlockChains(list.blocks).InOrder();
  } else {
    for (std::size_t i = 0; i < list.blocks.size(); ++i) places.push_back({.block = i});
  }
  if (places.size() > flags.limit) places.resize(flags.limit);
  return places;
}

OrderedJson BlockJson(const BlockInfo& block, std::int64_t now) {
  OrderedJson json = {{"folder", block.folder},
                      {"id", block.id.Hex()},
                      {"bytes", block.bytes},
                      {"used_us", block.used_us},
                      {"age_seconds", static_cast<double>(now - block.used_us) / 1e6}};
  if (!block.unreadable.empty()) {
    json["unreadable"] = block.unreadable;
    return json;
  }
  json["parent"] = block.parent.Hex();
  json["tokens"] = block.layout.block_tokens;
  json["layout"] = ToJson(block.layout);
  return json;
}

void PrintList(const BlockList& list, const std::vector<Place>& places, bool tree) {
  const std::int64_t now = NowUs();
  OrderedJson blocks = OrderedJson::array();
  for (const Place& place : places) {
    blocks.push_back(BlockJson(list.blocks[place.block], now));
    if (tree) blocks.back()["depth"] = place.depth;
  }
  PrintJson({{"total", list.total}, {"blocks", std::move(blocks)}});
}

std::string Described(const BlockInfo& block) {
  const std::string bytes = ShortBytes(static_cast<double>(block.bytes));
  if (!block.unreadable.empty()) {
    return fmt::format("{:<8}  {:>6}  {:>10}  {}", "", "?", bytes, block.unreadable);
  }
  return fmt::format("{:<8}  {:>6}  {:>10}  {} x {}", block.parent.Hex().substr(0, kShortId),
                     block.layout.block_tokens, bytes, block.layout.num_slices,
                     ShortBytes(static_cast<double>(block.layout.slice_bytes)));
}

void PrintTable(const BlockList& list, const std::vector<Place>& places, bool many_folders) {
  if (places.empty()) return;
  const std::int64_t now = NowUs();
  fmt::print("{:<32}  {:>8}  {:<8}  {:>6}  {:>10}  {}\n", "id", "used ago", "parent", "tokens",
             "size", "slices");
  for (const Place& place : places) {
    const BlockInfo& block = list.blocks[place.block];
    fmt::print("{}{}  {:>8}  {}{}\n", std::string(2 * place.forks, ' '), block.id.Hex(),
               Age(block.used_us, now), Described(block), many_folders ? "  " + block.folder : "");
  }
  if (places.size() < list.total) fmt::print("{} of {} blocks\n", places.size(), list.total);
}

int List(const ListFlags& flags) {
  // The order of chains wants them all.
  ListOptions options;
  if (!flags.tree) options.limit = flags.limit;
  const auto list = ListBlocks(flags.store.folders, options);
  if (!list) return Fail(list.error());
  const std::vector<Place> places = Ordered(*list, flags);
  if (flags.store.json) {
    PrintList(*list, places, flags.tree);
  } else {
    PrintTable(*list, places, flags.store.folders.size() > 1);
  }
  return kDone;
}

}  // namespace

void AddStoreListCommand(CLI::App* store, Action* action) {
  auto flags = std::make_shared<ListFlags>();
  CLI::App* command = store->add_subcommand("ls", "The blocks, most recently used first");
  flags->store.AddTo(command);
  command->add_option("--limit", flags->limit, "Only the first of them")
      ->check(CLI::Range(1, 1 << 30))
      ->type_name("N");
  command->add_flag("--tree", flags->tree,
                    "Each block behind the one it continues, indented where chains part");
  command->footer(
      "What the headers of the files say; esa store verify reads the rest. Changes nothing, and\n"
      "may run while the store is in use.\n\n"
      "Example:\n  esa store ls --store /ssd/kv --limit 20");
  OnCall(command, action, flags, &List);
}

}  // namespace esa::cli
