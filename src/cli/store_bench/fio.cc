#include "cli/store_bench/fio.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/status_macros.h"

namespace esa::cli {
namespace {

constexpr const char* kNumHugePages = "/proc/sys/vm/nr_hugepages";

// What a command prints; empty when it cannot be started or fails.
std::string OutputOf(const std::string& command) {
  const auto close = [](FILE* pipe) { pclose(pipe); };
  const std::unique_ptr<FILE, decltype(close)> pipe(popen(command.c_str(), "r"), close);
  if (!pipe) return {};
  std::string text;
  std::array<char, 4096> buffer;
  while (const std::size_t got = fread(buffer.data(), 1, buffer.size(), pipe.get())) {
    text.append(buffer.data(), got);
  }
  return text;
}

std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

Result<FioResult> Parse(const std::string& text, const FioJob& job) {
  const std::size_t start = text.find('{');  // fio prints its notes before
  const auto json =
      nlohmann::json::parse(start == std::string::npos ? "" : text.substr(start), nullptr, false);
  if (json.is_discarded() || !json.contains("jobs") || json["jobs"].empty()) {
    return IoError(fmt::format("fio: found no result of {} in its output", job.mode));
  }
  const auto& done = json["jobs"][0];
  if (const int code = done.value("error", 0); code != 0) {
    return IoError(fmt::format("fio: {}: error {}", job.mode, code));
  }
  const auto& side = done[job.mode == "write" ? "write" : "read"];
  FioResult result;
  const double bytes = side.value("io_bytes", 0.0);
  const double seconds = done.value("job_runtime", 0.0) * 1e-3;
  if (bytes <= 0 || seconds <= 0) return IoError(fmt::format("fio: {} moved nothing", job.mode));
  result.gbps = side.value("bw_bytes", 0.0) / 1e9;
  const double busy = (done.value("usr_cpu", 0.0) + done.value("sys_cpu", 0.0)) / 100;
  result.cpu_per_gb = busy * seconds / (bytes / 1e9);
  const auto& percentiles = side["clat_ns"]["percentile"];
  result.p50_seconds = percentiles.value("50.000000", 0.0) * 1e-9;
  result.p99_seconds = percentiles.value("99.000000", 0.0) * 1e-9;
  return result;
}

}  // namespace

std::string FioVersion() {
  std::string version = OutputOf("fio --version 2>/dev/null");
  while (!version.empty() && version.back() == '\n') version.pop_back();
  return version;
}

bool HasFio() { return FioVersion().starts_with("fio-"); }

Result<FioResult> RunFio(const FioJob& job) {
  const std::string file = job.folder + "/fio.data";
  // What is written is written to a new file, as the store does.
  if (job.mode == "write") {
    (void)std::remove(file.c_str());
    sync();
  }
  const std::string command = fmt::format(
      "fio --name=esa --filename={} --rw={} --bs={} --size={} --ioengine=io_uring --direct=1 "
      "--iodepth={} --iomem={} --output-format=json --randseed=1",
      Quoted(file), job.mode, job.request_bytes, job.file_bytes, job.depth,
      job.huge_pages ? "mmaphuge" : "malloc");
  return Parse(OutputOf(command + " 2>/dev/null"), job);
}

ReservedHugePages::ReservedHugePages(int pages) {
  std::ifstream(kNumHugePages) >> before_;
  if (before_.empty()) return;
  std::ofstream(kNumHugePages) << std::stoi(before_) + pages << std::flush;
  int now = 0;
  std::ifstream(kNumHugePages) >> now;
  reserved_ = now >= std::stoi(before_) + pages;
}

ReservedHugePages::~ReservedHugePages() {
  if (!before_.empty()) std::ofstream(kNumHugePages) << before_;
}

}  // namespace esa::cli
