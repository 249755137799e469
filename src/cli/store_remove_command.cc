#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>

#include "base/status_macros.h"
#include "cli/store_commands.h"
#include "store/store_maintenance.h"

namespace esa::cli {
namespace {

using Files = StoreSummary::Files;

struct RemoveFlags {
  StoreFlags store;
  std::vector<std::string> ids;
  bool all = false;
  bool chain = false;
  bool yes = false;
  bool dry_run = false;
};

Status CheckUsage(const RemoveFlags& flags) {
  if (flags.all == !flags.ids.empty()) {
    return InvalidArgument("name the blocks that go, or all of them with --all");
  }
  if (flags.all && flags.chain) return InvalidArgument("--chain belongs to ids, not to --all");
  if (flags.all && !flags.yes && !flags.dry_run && isatty(STDIN_FILENO) == 0) {
    return InvalidArgument("--all removes every block: add --yes");
  }
  return {};
}

void Add(const Files& more, Files* sum) {
  sum->count += more.count;
  sum->bytes += more.bytes;
}

Result<Files> RemoveFromAll(const StoreFlags& store, bool dry_run) {
  Files sum;
  for (const std::string& folder : store.folders) {
    ESA_ASSIGN_OR_RETURN(const CollectReport report,
                         RemoveAllBlocks(folder, {.allow_shared_folder = store.allow_shared_folder,
                                                  .dry_run = dry_run}));
    Add(report.expired, &sum);
  }
  return sum;
}

bool Confirm(const Files& blocks) {
  fmt::print(stderr, "Remove all {}? [y/N] ", Amount(blocks, "block"));
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "yes";
}

// All folders are looked at before the first is touched: of three, the third may be a mistake.
// kCancelled: the user said no.
Result<Files> RemoveAll(const RemoveFlags& flags) {
  ESA_ASSIGN_OR_RETURN(const Files found, RemoveFromAll(flags.store, true));
  if (flags.dry_run) return found;
  if (!flags.yes && !Confirm(found)) return Cancelled("nothing was removed");
  return RemoveFromAll(flags.store, false);
}

Result<Files> RemoveNamed(const RemoveFlags& flags, OrderedJson* ids) {
  ESA_ASSIGN_OR_RETURN(const std::vector<BlockInfo> blocks,
                       FindBlocks(flags.store.folders, flags.ids, flags.chain));
  Files found;
  for (const BlockInfo& block : blocks) {
    ids->push_back(block.id.Hex());
    Add({1, block.bytes}, &found);
  }
  if (flags.dry_run) return found;
  return RemoveBlocks(blocks, flags.store.allow_shared_folder);
}

int Remove(const RemoveFlags& flags) {
  if (const Status usage = CheckUsage(flags); !usage) return Fail(usage.error(), kUsage);
  OrderedJson ids = OrderedJson::array();
  const Result<Files> removed = flags.all ? RemoveAll(flags) : RemoveNamed(flags, &ids);
  if (!removed) return Fail(removed.error());
  if (flags.store.json) {
    OrderedJson json = {
        {"dry_run", flags.dry_run}, {"removed", removed->count}, {"removed_bytes", removed->bytes}};
    if (!flags.all) json["ids"] = std::move(ids);
    PrintJson(json);
  } else {
    fmt::print("{} {}\n", flags.dry_run ? "would remove" : "removed", Amount(*removed, "block"));
  }
  return kDone;
}

}  // namespace

void AddStoreRemoveCommand(CLI::App* store, Action* action) {
  auto flags = std::make_shared<RemoveFlags>();
  CLI::App* command = store->add_subcommand("rm", "Remove blocks");
  command->add_option("ID", flags->ids, "Ids as ls prints them, or their first digits, 4 at least");
  flags->store.AddTo(command);
  command->add_flag("--chain", flags->chain, "Also all blocks that continue them");
  command->add_flag("--all", flags->all, "Every block, the quarantine, what dead writers left");
  command->add_flag("--yes", flags->yes, "Do not ask");
  command->add_flag("--dry-run", flags->dry_run, "Say what would go, and change nothing");
  flags->store.AddSharedTo(command);
  command->footer(
      "--all asks before it removes, and where nobody can be asked it wants --yes. Nothing goes\n"
      "where an id is wrong, not unique or not stored, or one folder is none of a store. A store\n"
      "that has a block in use finds it missing.\n\n"
      "Examples:\n"
      "  esa store rm --store /ssd/kv 1f3a0c77 --chain\n"
      "  esa store rm --store /ssd/kv --all");
  OnCall(command, action, flags, &Remove);
}

}  // namespace esa::cli
