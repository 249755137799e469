// esa_store_stress: processes and threads that use and abuse one folder of the posix store, and
// verify every byte they are served. Prints a JSON summary; exit code 1 when anything was wrong.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>

#include "store/posix/packed_files.h"
#include "store/stress/mixed_load.h"

namespace esa::testing {
namespace {

constexpr std::uint32_t kFirstSeed = 1000;

struct Options {
  std::string dir = {};
  double seconds = 3;
  int processes = 2;
  int threads = 4;
  std::uint64_t capacity_bytes = 64 * 32768;
  std::uint64_t seed = 1;
  std::size_t blocks = 128;
  bool direct = false;
  bool durable = false;
};

// What a process reports when it ends.
struct Report {
  MixedLoadCounts counts;
  std::uint64_t quarantined_blocks = 0;
  std::uint64_t evicted_blocks = 0;
};
static_assert(std::is_trivially_copyable_v<Report>);

// Every other process lets blocks share files.
StoreConfig ConfigOf(const Options& options, int process) {
  StoreConfig config;
  config.storage_backends = {options.dir};
  config.capacity_bytes = options.capacity_bytes;
  config.io_direct = options.direct;
  if (process % 2 == 1) config.pack_below_bytes = 0;
  config.durability = options.durable ? Durability::kCommit : Durability::kNone;
  return config;
}

std::unique_ptr<BlockStore> OpenOrExit(const Options& options, int process) {
  auto store = CreateBlockStore(ConfigOf(options, process), kSmallLayout);
  if (store) return *std::move(store);
  std::fprintf(stderr, "esa_store_stress: %s\n", store.error().message.c_str());
  std::exit(2);
}

Report Work(const Options& options, int process, const std::vector<SampleBlock>& blocks) {
  const auto store = OpenOrExit(options, process);
  const auto duration = std::chrono::duration<double>(options.seconds);
  const MixedLoadOptions load{
      .seed = options.seed * 100 + static_cast<std::uint64_t>(process),
      .threads = options.threads,
      .end = std::chrono::steady_clock::now() +
             std::chrono::duration_cast<std::chrono::steady_clock::duration>(duration),
      .vandalized_folder = options.dir};
  Report report{.counts = RunMixedLoad(*store, blocks, load)};
  const StoreStats stats = store->Stats();
  report.quarantined_blocks = stats.quarantined_blocks;
  report.evicted_blocks = stats.evicted_blocks;
  return report;
}

// The descriptor from which the process's report can be read. Forks before any thread is there.
int StartProcess(const Options& options, int process, const std::vector<SampleBlock>& blocks) {
  int ends[2];
  if (pipe(ends) != 0 || fflush(nullptr) != 0) std::exit(2);
  if (const pid_t child = fork(); child != 0) {
    close(ends[1]);
    return child > 0 ? ends[0] : -1;
  }
  const Report report = Work(options, process, blocks);
  const bool told = write(ends[1], &report, sizeof(report)) == sizeof(report);
  std::exit(told ? 0 : 2);
}

std::optional<Report> ReadReport(int descriptor) {
  Report report;
  const bool whole = read(descriptor, &report, sizeof(report)) == sizeof(report);
  close(descriptor);
  return whole ? std::optional(report) : std::nullopt;
}

std::uint64_t CountTemporaries(const std::string& dir) {
  std::uint64_t count = 0;
  for (const std::string& path : StoredPaths(*MakePackedFiles(MakeRealFileSystem()), dir)) {
    count += path.ends_with(".tmp") ? 1 : 0;
  }
  return count;
}

int Run(const Options& options) {
  const std::vector<SampleBlock> blocks = MakeBlocks(kFirstSeed, options.blocks);
  std::vector<int> descriptors;
  for (int i = 0; i < options.processes; ++i) {
    descriptors.push_back(StartProcess(options, i, blocks));
  }
  Report sum;
  int died = 0;
  for (const int descriptor : descriptors) {
    const std::optional<Report> report = ReadReport(descriptor);
    died += report ? 0 : 1;
    if (!report) continue;
    sum.counts += report->counts;
    sum.quarantined_blocks += report->quarantined_blocks;
    sum.evicted_blocks += report->evicted_blocks;
  }
  for (int status = 0; wait(&status) > 0;) died += status != 0 ? 1 : 0;

  const auto store = OpenOrExit(options, 0);
  const StoreStats stats = store->Stats();
  std::uint64_t unreadable = 0;
  for (const SampleBlock& block : blocks) {
    if (Hit(*store, block) && !LoadAllAndTokens(*store, block)) ++unreadable;
  }
  const std::uint64_t temporaries = CountTemporaries(options.dir);
  const MixedLoadCounts& counts = sum.counts;
  std::cout << nlohmann::ordered_json{{"wrong_bytes", counts.wrong_bytes},
                                      {"failed_loads", counts.failed_loads},
                                      {"quarantined_blocks", sum.quarantined_blocks},
                                      {"processes_died", died},
                                      {"unreadable_at_end", unreadable},
                                      {"temporaries_at_end", temporaries},
                                      {"bytes_at_end", stats.bytes},
                                      {"capacity_bytes", options.capacity_bytes},
                                      {"dumps", counts.dumps},
                                      {"failed_dumps", counts.failed_dumps},
                                      {"evicted_blocks", sum.evicted_blocks},
                                      {"lookups", counts.lookups},
                                      {"hits", counts.hits},
                                      {"loads", counts.loads},
                                      {"missed_loads", counts.missed_loads},
                                      {"removes", counts.removes},
                                      {"vanished_files", counts.vanished},
                                      {"cancels", counts.cancels}}
                   .dump(2)
            << std::endl;
  const bool bounded = options.capacity_bytes == 0 || stats.bytes <= options.capacity_bytes;
  const bool sound = counts.wrong_bytes + counts.failed_loads + sum.quarantined_blocks +
                             unreadable + temporaries ==
                         0 &&
                     died == 0 && bounded && counts.loads > counts.missed_loads;
  return sound ? 0 : 1;
}

}  // namespace
}  // namespace esa::testing

int main(int argc, char** argv) {
  esa::testing::Options options;
  CLI::App app("Processes and threads that use one folder of the posix store and verify it.");
  app.add_option("--dir", options.dir, "the folder; made if need be")->required();
  app.add_option("--seconds", options.seconds, "how long")->capture_default_str();
  app.add_option("--processes", options.processes, "stores on the folder")->capture_default_str();
  app.add_option("--threads", options.threads, "of each process")->capture_default_str();
  app.add_option("--capacity", options.capacity_bytes, "in bytes; 0: not bounded")
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of the order of calls")->capture_default_str();
  app.add_option("--blocks", options.blocks, "different blocks, 32 KiB each")
      ->capture_default_str();
  app.add_flag("--direct", options.direct, "O_DIRECT");
  app.add_flag("--durable", options.durable, "durability = commit");
  CLI11_PARSE(app, argc, argv);
  return esa::testing::Run(options);
}
