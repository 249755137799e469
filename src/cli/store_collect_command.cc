#include <fmt/format.h>

#include <memory>
#include <optional>

#include "cli/engine_flags.h"
#include "cli/store_commands.h"
#include "eval/cost.h"
#include "store/store_maintenance.h"

namespace esa::cli {
namespace {

struct CollectFlags {
  StoreFlags store;
  std::optional<std::string> capacity;
  std::optional<std::string> older_than;
  bool quarantine = false;
  bool dry_run = false;
};

std::uint64_t FreedBytes(const CollectReport& report) {
  return report.leftovers.bytes + report.quarantined.bytes + report.expired.bytes +
         report.evicted.bytes;
}

OrderedJson FilesJson(const StoreSummary::Files& files) {
  return {{"count", files.count}, {"bytes", files.bytes}};
}

OrderedJson CollectedJson(const std::string& folder, const CollectReport& report, bool dry_run) {
  return {{"folder", folder},
          {"dry_run", dry_run},
          {"freed_bytes", FreedBytes(report)},
          {"leftovers", FilesJson(report.leftovers)},
          {"quarantined", FilesJson(report.quarantined)},
          {"expired", FilesJson(report.expired)},
          {"evicted", FilesJson(report.evicted)},
          {"kept", FilesJson(report.kept)},
          {"open", FilesJson(report.open)}};
}

void PrintCollected(const std::string& folder, const CollectReport& report, bool dry_run) {
  fmt::print("{}\n", folder);
  fmt::print("  {:<11}  {}\n", dry_run ? "would free" : "freed",
             ShortBytes(static_cast<double>(FreedBytes(report))));
  fmt::print("  leftovers    {} of writers that died\n", Amount(report.leftovers, "file"));
  fmt::print("  quarantine   {}\n", Amount(report.quarantined, "block"));
  fmt::print("  expired      {} not used for long\n", Amount(report.expired, "block"));
  fmt::print("  evicted      {} for the capacity\n", Amount(report.evicted, "block"));
  fmt::print("  kept         {}, {} being written\n", Amount(report.kept, "block"),
             report.open.count);
}

// The flags have been validated.
CollectOptions OptionsOf(const CollectFlags& flags) {
  CollectOptions options;
  if (flags.capacity) options.capacity_bytes = ParseBytes(*flags.capacity).value();
  if (flags.older_than) {
    options.used_since_us = NowUs() - ParseDuration(*flags.older_than).value() * 1'000'000;
  }
  options.empty_quarantine = flags.quarantine;
  options.allow_shared_folder = flags.store.allow_shared_folder;
  options.dry_run = flags.dry_run;
  return options;
}

int Collect(const CollectFlags& flags) {
  if (const Status valid = CheckStoreFolders(flags.store.folders); !valid) {
    return Fail(valid.error());
  }
  const CollectOptions options = OptionsOf(flags);
  OrderedJson all = OrderedJson::array();
  for (const std::string& folder : flags.store.folders) {
    const auto report = CollectFolder(folder, options);
    if (!report) return Fail(report.error());
    if (flags.store.json) {
      all.push_back(CollectedJson(folder, *report, flags.dry_run));
    } else {
      PrintCollected(folder, *report, flags.dry_run);
    }
  }
  if (flags.store.json) PrintJson({{"folders", std::move(all)}});
  return kDone;
}

}  // namespace

void AddStoreCollectCommand(CLI::App* store, Action* action) {
  auto flags = std::make_shared<CollectFlags>();
  CLI::App* command =
      store->add_subcommand("gc", "Remove leftovers, corrupt blocks and what is not used");
  flags->store.AddTo(command);
  command->add_option("--capacity", flags->capacity, "Evict each folder down to this, as 200GB")
      ->check(Size());
  command
      ->add_option("--older-than", flags->older_than,
                   "Evict blocks that were not used for so long: 90s, 30m, 12h, 7d, 2w")
      ->check(Duration());
  command->add_flag("--quarantine", flags->quarantine, "Empty the quarantine");
  command->add_flag("--dry-run", flags->dry_run, "Say what would go, and change nothing");
  flags->store.AddSharedTo(command);
  command->footer(
      "Without flags only what writers left that died goes, and the quarantine is cut to 16 "
      "files.\n"
      "Blocks go least recently used first, so that a chain loses its end first. What a running\n"
      "store is writing is never touched; a block it has stored may go, and is a miss there.\n\n"
      "Example:\n  esa store gc --store /ssd/kv --older-than 7d --capacity 200GB --dry-run");
  OnCall(command, action, flags, &Collect);
}

}  // namespace esa::cli
