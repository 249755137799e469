#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "base/status_macros.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/store_bench/fio.h"
#include "cli/store_bench/store_workload.h"
#include "eval/cost.h"

namespace esa::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr std::uint64_t kDefaultBlockBytes = 8u << 20;
constexpr std::uint32_t kSelectionSlices = 300;
constexpr std::uint32_t kSelectionTimes = 20;
constexpr std::uint32_t kLookupBlocks = 1000;

struct BenchOptions {
  std::string folder;
  std::string slice_bytes = "64KiB";
  std::string bytes = "1GiB";
  std::string durability = "none";
  std::string io_engine = "uring";
  std::string key_file;
  std::string pack_below = "4MiB";
  std::string capacity = "0";
  std::uint32_t slices_per_block = 0;
  int rounds = 5;
  int depth = 32;
  int threads = 2;
  bool buffered = false;
  bool json = false;
};

// Every figure of one run, by name, as they come.
class Samples {
 public:
  void Add(const std::string& name, double value) { values_[name].push_back(value); }
  bool Has(const std::string& name) const { return values_.contains(name); }

  double Quantile(const std::string& name, double q) const {
    const auto found = values_.find(name);
    if (found == values_.end()) return 0;
    std::vector<double> sorted = found->second;
    std::ranges::sort(sorted);
    const double at = q * static_cast<double>(sorted.size() - 1);
    return sorted[static_cast<std::size_t>(at + 0.5)];
  }
  double Median(const std::string& name) const { return Quantile(name, 0.5); }

 private:
  std::map<std::string, std::vector<double>> values_;
};

// Seconds of one lookup of 1,000 blocks as small as blocks get, their heads at hand.
Result<double> MeasureLookup(const std::string& folder) {
  WorkloadConfig config{.folder = folder + "/lookup",
                        .layout = {.block_tokens = 128,
                                   .num_slices = 1,
                                   .slice_bytes = 4096,
                                   .representation_bytes = 256},
                        .blocks = kLookupBlocks,
                        .store = {}};
  ESA_ASSIGN_OR_RETURN(const auto workload, StoreWorkload::Open(config));
  if (const auto dumped = workload->Dump(); !dumped) return dumped.error();
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    ESA_ASSIGN_OR_RETURN(const double seconds, workload->WarmLookup());
    best = std::min(best, seconds);
  }
  return best;
}

class Bench {
 public:
  explicit Bench(const BenchOptions& options) : options_(options) {}

  Status Run() {
    ESA_RETURN_IF_ERROR(Prepare());
    const std::string own =
        fmt::format("{}/esa-bench-{}", options_.folder, static_cast<long>(getpid()));
    const Cleanup cleanup{own};
    std::error_code error;
    std::filesystem::create_directories(own, error);
    if (error) return IoError(own + ": cannot be made: " + error.message());
    std::filesystem::permissions(own, std::filesystem::perms::owner_all, error);
    workload_.folder = own + "/store";
    ESA_RETURN_IF_ERROR(Measure(own));
    ESA_ASSIGN_OR_RETURN(const double lookup, MeasureLookup(own));
    samples_.Add("lookup_1000_ms", lookup * 1e3);
    Print();
    return {};
  }

 private:
  struct Cleanup {
    std::string folder;
    ~Cleanup() {
      std::error_code ignored;
      std::filesystem::remove_all(folder, ignored);
    }
  };

  Status Prepare() {
    ESA_ASSIGN_OR_RETURN(const std::uint64_t slice, ParseBytes(options_.slice_bytes));
    ESA_ASSIGN_OR_RETURN(const std::uint64_t bytes, ParseBytes(options_.bytes));
    const std::uint64_t per_block =
        options_.slices_per_block > 0
            ? options_.slices_per_block
            : std::max<std::uint64_t>(1, kDefaultBlockBytes / std::max<std::uint64_t>(slice, 1));
    workload_.layout = {.block_tokens = 128,
                        .num_slices = static_cast<std::uint32_t>(per_block),
                        .slice_bytes = slice,
                        .representation_bytes = 256};
    workload_.blocks = static_cast<std::uint32_t>(
        std::max<std::uint64_t>(2, bytes / std::max<std::uint64_t>(1, slice * per_block)));
    StoreConfig& store = workload_.store;
    store.io_direct = !options_.buffered;
    store.queue_bytes = 1u << 30;  // the depth is the only bound, as it is of fio
    store.io_threads = options_.threads;
    store.io_depth = std::max(1, options_.depth / options_.threads);
    store.io_engine = options_.io_engine == "threads" ? IoEngine::kThreads : IoEngine::kUring;
    store.durability = options_.durability == "commit" ? Durability::kCommit : Durability::kNone;
    store.encryption_key_file = options_.key_file;
    ESA_ASSIGN_OR_RETURN(store.pack_below_bytes, ParseBytes(options_.pack_below));
    ESA_ASSIGN_OR_RETURN(store.capacity_bytes, ParseBytes(options_.capacity));
    return {};
  }

  Status Measure(const std::string& own) {
    has_fio_ = HasFio();
    const ReservedHugePages pages(static_cast<int>(static_cast<std::uint64_t>(options_.depth) *
                                                       workload_.layout.slice_bytes / (2u << 20) +
                                                   8));
    huge_pages_ = pages.reserved();
    ESA_ASSIGN_OR_RETURN(const auto workload, StoreWorkload::Open(workload_));
    Progress progress("store bench");
    for (int round = 0; round < options_.rounds; ++round) {
      progress.Update(static_cast<double>(round) / options_.rounds);
      ESA_RETURN_IF_ERROR(Round(*workload, own));
    }
    return {};
  }

  // Ours and fio's in turn, so that what disturbs the machine disturbs both.
  Status Round(StoreWorkload& workload, const std::string& own) {
    ESA_ASSIGN_OR_RETURN(const Pass dump, workload.Dump());
    Add("dump", dump);
    ESA_RETURN_IF_ERROR(Fio(own, "write", "fio_write"));
    ESA_ASSIGN_OR_RETURN(const Pass load, workload.Load());
    Add("load", load);
    ESA_RETURN_IF_ERROR(Fio(own, "read", "fio_read"));
    ESA_ASSIGN_OR_RETURN(const Pass unverified, workload.LoadUnverified());
    Add("load_unverified", unverified);
    std::vector<double> latencies;
    ESA_ASSIGN_OR_RETURN(const Pass selection,
                         workload.LoadSelections(kSelectionSlices, kSelectionTimes, &latencies));
    Add("selection", selection);
    for (const double seconds : latencies) samples_.Add("selection_ms", seconds * 1e3);
    return Fio(own, "randread", "fio_randread");
  }

  void Add(const std::string& name, const Pass& pass) {
    samples_.Add(name + "_gbps", pass.gbps());
    samples_.Add(name + "_cpu_s_per_gb", pass.cpu_per_gb());
  }

  Status Fio(const std::string& own, const std::string& mode, const std::string& name) {
    if (!has_fio_) return {};
    const FioJob job{.folder = own,
                     .mode = mode,
                     .request_bytes = workload_.layout.slice_bytes,
                     .file_bytes = BytesMoved(),
                     .depth = options_.depth,
                     .huge_pages = huge_pages_};
    ESA_ASSIGN_OR_RETURN(const FioResult result, RunFio(job));
    samples_.Add(name + "_gbps", result.gbps);
    samples_.Add(name + "_cpu_s_per_gb", result.cpu_per_gb);
    samples_.Add(name + "_p50_ms", result.p50_seconds * 1e3);
    samples_.Add(name + "_p99_ms", result.p99_seconds * 1e3);
    return {};
  }

  std::uint64_t BytesMoved() const {
    return std::uint64_t{workload_.blocks} * workload_.layout.num_slices *
           workload_.layout.slice_bytes;
  }

  OrderedJson ToJson() const {
    OrderedJson json = {{"slice_bytes", workload_.layout.slice_bytes},
                        {"slices_per_block", workload_.layout.num_slices},
                        {"blocks", workload_.blocks},
                        {"bytes", BytesMoved()},
                        {"rounds", options_.rounds},
                        {"direct", workload_.store.io_direct},
                        {"io_engine", options_.io_engine},
                        {"durability", options_.durability},
                        {"encrypted", !options_.key_file.empty()},
                        {"pack_below", workload_.store.pack_below_bytes},
                        {"capacity", workload_.store.capacity_bytes},
                        {"io_depth", options_.depth},
                        {"io_threads", options_.threads},
                        {"fio", has_fio_ ? OrderedJson(FioVersion()) : OrderedJson(nullptr)},
                        {"fio_huge_pages", huge_pages_}};
    for (const char* name : {"dump", "fio_write", "load", "fio_read", "load_unverified",
                             "selection", "fio_randread"}) {
      const std::string key = name;
      if (!samples_.Has(key + "_gbps")) continue;
      json[key + "_gbps"] = samples_.Median(key + "_gbps");
      json[key + "_cpu_s_per_gb"] = samples_.Median(key + "_cpu_s_per_gb");
    }
    json["selection_slices"] = kSelectionSlices;
    json["selection_p50_ms"] = samples_.Median("selection_ms");
    json["selection_p99_ms"] = samples_.Quantile("selection_ms", 0.99);
    if (has_fio_) {
      json["fio_randread_p50_ms"] = samples_.Median("fio_randread_p50_ms");
      json["fio_randread_p99_ms"] = samples_.Median("fio_randread_p99_ms");
    }
    json["lookup_1000_ms"] = samples_.Median("lookup_1000_ms");
    return json;
  }

  void Print() const {
    if (options_.json) {
      fmt::print("{}\n", ToJson().dump(1));
      return;
    }
    fmt::print("{} slices of {} in {} blocks, {} requests under way, {}; medians of {} rounds\n",
               workload_.layout.num_slices * workload_.blocks,
               ShortBytes(static_cast<double>(workload_.layout.slice_bytes)), workload_.blocks,
               options_.depth, workload_.store.io_direct ? "O_DIRECT" : "through the page cache",
               options_.rounds);
    fmt::print("{:<28}{:>10}{:>12}{:>12}{:>14}\n", "", "GB/s", "CPU s/GB", "fio GB/s", "of fio");
    Row("dump", "dump", "fio_write");
    Row("load", "load", "fio_read");
    Row("load without checksums", "load_unverified", "fio_read");
    Row("selections of 300 slices", "selection", "fio_randread");
    fmt::print(
        "a selection: {:.2f} ms (p50), {:.2f} ms (p99); a request of fio's: {:.2f}, {:.2f}\n",
        samples_.Median("selection_ms"), samples_.Quantile("selection_ms", 0.99),
        samples_.Median("fio_randread_p50_ms"), samples_.Median("fio_randread_p99_ms"));
    fmt::print("lookup of 1,000 blocks: {:.3f} ms\n", samples_.Median("lookup_1000_ms"));
    if (!has_fio_) fmt::print("fio is not installed: its columns are empty\n");
    if (has_fio_ && !huge_pages_) {
      fmt::print(
          "no huge pages could be reserved for fio: its figures are lower than they could "
          "be\n");
    }
  }

  void Row(const char* label, const std::string& ours, const std::string& fio) const {
    const double gbps = samples_.Median(ours + "_gbps");
    const double limit = samples_.Median(fio + "_gbps");
    fmt::print("{:<28}{:>10.2f}{:>12.3f}", label, gbps, samples_.Median(ours + "_cpu_s_per_gb"));
    if (limit > 0) fmt::print("{:>12.2f}{:>13.0f}%", limit, 100 * gbps / limit);
    fmt::print("\n");
  }

  const BenchOptions& options_;
  WorkloadConfig workload_;
  Samples samples_;
  bool has_fio_ = false;
  bool huge_pages_ = false;
};

int RunBench(const BenchOptions& options) {
  const Status status = Bench(options).Run();
  return status.ok() ? kDone : Fail(status.error());
}

}  // namespace

void AddStoreBenchCommand(CLI::App* store, Action* action) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      store->add_subcommand("bench", "How fast a folder takes and gives blocks, beside fio");
  command->add_option("--dir", options->folder, "Folder on the disk to measure")
      ->type_name("DIR")
      ->required();
  command->add_option("--slice-bytes", options->slice_bytes, "Of one slice, a multiple of 4096")
      ->check(Size())
      ->capture_default_str();
  command->add_option("--bytes", options->bytes, "Dumped and loaded in each round")
      ->check(Size())
      ->capture_default_str();
  const auto number = [&](const char* flag, auto* value, const char* what, int least, int most) {
    command->add_option(flag, *value, what)
        ->type_name("N")
        ->check(CLI::Range(least, most))
        ->capture_default_str();
  };
  number("--slices-per-block", &options->slices_per_block, "0: blocks of about 8 MiB", 0, 65536);
  number("--rounds", &options->rounds, "Of which medians are taken", 1, 1000);
  number("--depth", &options->depth, "Requests under way, of the store and of fio", 1, 1024);
  number("--threads", &options->threads, "I/O threads of the store", 1, 64);
  command->add_option("--io-engine", options->io_engine, "uring or threads")
      ->check(CLI::IsMember({"uring", "threads"}))
      ->capture_default_str();
  command->add_option("--durability", options->durability, "none, or commit: synced blocks")
      ->check(CLI::IsMember({"none", "commit"}))
      ->capture_default_str();
  command->add_option("--encryption-key-file", options->key_file, "Encrypts the blocks")
      ->type_name("FILE");
  command->add_option("--pack-below", options->pack_below, "Smaller blocks share files; 0: never")
      ->check(Size())
      ->capture_default_str();
  command
      ->add_option("--capacity", options->capacity,
                   "Of the folder, more than --bytes: what it costs to keep one; 0: none")
      ->check(Size())
      ->capture_default_str();
  command->add_flag("--buffered", options->buffered, "Through the page cache, not O_DIRECT");
  command->add_flag("--json", options->json, "JSON on stdout");
  command->footer(
      "Works in a folder of its own below DIR, and removes it. Installed fio is run in turn with\n"
      "the store, with buffers in huge pages where they can be reserved (as root).\n\n"
      "Example:\n  esa store bench --dir /ssd --slice-bytes 64KiB");
  OnCall(command, action, options, &RunBench);
}

}  // namespace esa::cli
