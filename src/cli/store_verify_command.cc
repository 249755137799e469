#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "base/progress.h"
#include "cli/store_commands.h"
#include "eval/cost.h"
#include "store/store_maintenance.h"

namespace esa::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct VerifyFlags {
  StoreFlags store;
  int threads = 2;
  bool dry_run = false;
};

struct Verified {
  VerifyReport report;
  double seconds = 0;
};

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double PerSecond(std::uint64_t bytes, double seconds) {
  return seconds > 0 ? static_cast<double>(bytes) / seconds : 0;
}

const char* NameOf(VerifyReport::Fault fault) {
  switch (fault) {
    case VerifyReport::Fault::kForeign:
      return "foreign";
    case VerifyReport::Fault::kUnreadable:
      return "unreadable";
    case VerifyReport::Fault::kCorrupt:
      break;
  }
  return "corrupt";
}

Result<Verified> VerifyOne(const std::string& folder, const VerifyFlags& flags) {
  Progress progress("verify " + folder, !flags.store.json);
  const Clock::time_point start = Clock::now();
  const auto show = [&](std::uint64_t done, std::uint64_t total) {
    const double fraction = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
    progress.Update(fraction, ShortBytes(PerSecond(done, SecondsSince(start))) + "/s");
  };
  auto report = VerifyFolder(folder, {.threads = flags.threads,
                                      .quarantine = !flags.dry_run,
                                      .allow_shared_folder = flags.store.allow_shared_folder,
                                      .on_progress = show});
  if (!report) return report.error();
  return Verified{*std::move(report), SecondsSince(start)};
}

OrderedJson VerifiedJson(const std::string& folder, const Verified& verified) {
  const VerifyReport& report = verified.report;
  OrderedJson findings = OrderedJson::array();
  for (const VerifyReport::Finding& finding : report.findings) {
    findings.push_back({{"id", finding.id.Hex()},
                        {"fault", NameOf(finding.fault)},
                        {"what", finding.what},
                        {"quarantined", finding.quarantined}});
  }
  return {{"folder", folder},
          {"blocks", report.blocks},
          {"corrupt", report.corrupt},
          {"foreign", report.foreign},
          {"unreadable", report.unreadable},
          {"read_bytes", report.read_bytes},
          {"seconds", verified.seconds},
          {"read_bytes_per_second", PerSecond(report.read_bytes, verified.seconds)},
          {"findings", std::move(findings)}};
}

void PrintVerified(const std::string& folder, const Verified& verified) {
  const VerifyReport& report = verified.report;
  fmt::print("{}\n", folder);
  fmt::print("  verified     {} in {:.2f} s ({}/s)\n",
             Amount({report.blocks, report.read_bytes}, "block"), verified.seconds,
             ShortBytes(PerSecond(report.read_bytes, verified.seconds)));
  fmt::print("  corrupt {}, unreadable {}, foreign {}\n", report.corrupt, report.unreadable,
             report.foreign);
  for (const VerifyReport::Finding& finding : report.findings) {
    fmt::print("  {}  {}{}: {}\n", finding.id.Hex(), NameOf(finding.fault),
               finding.quarantined ? ", quarantined" : "", finding.what);
  }
}

int Verify(const VerifyFlags& flags) {
  if (const Status valid = CheckStoreFolders(flags.store.folders); !valid) {
    return Fail(valid.error());
  }
  OrderedJson all = OrderedJson::array();
  std::uint64_t corrupt = 0;
  std::uint64_t unreadable = 0;
  for (const std::string& folder : flags.store.folders) {
    const auto verified = VerifyOne(folder, flags);
    if (!verified) return Fail(verified.error());
    corrupt += verified->report.corrupt;
    unreadable += verified->report.unreadable;
    if (flags.store.json) {
      all.push_back(VerifiedJson(folder, *verified));
    } else {
      PrintVerified(folder, *verified);
    }
  }
  if (flags.store.json) PrintJson({{"folders", std::move(all)}});
  if (corrupt + unreadable == 0) return kDone;
  std::fflush(stdout);
  return Fail(
      DataError(fmt::format("blocks found: {} corrupt, {} unreadable", corrupt, unreadable)));
}

}  // namespace

void AddStoreVerifyCommand(CLI::App* store, Action* action) {
  auto flags = std::make_shared<VerifyFlags>();
  CLI::App* command =
      store->add_subcommand("verify", "Read every block and hold it to all its checksums");
  flags->store.AddTo(command);
  command->add_option("--threads", flags->threads, "Threads that read")
      ->check(CLI::Range(1, 256))
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--dry-run", flags->dry_run, "Leave corrupt blocks where they are");
  flags->store.AddSharedTo(command);
  command->footer(
      "Corrupt blocks go to the folder's quarantine, which is what a store does that reads one.\n"
      "Blocks of another version of the format are left alone. May run while the store is in use.\n"
      "Exit codes: 0 all is well, 1 a block is corrupt or could not be read, 2 wrong usage.\n\n"
      "Example:\n  esa store verify --store /ssd/kv --threads 4");
  OnCall(command, action, flags, &Verify);
}

}  // namespace esa::cli
