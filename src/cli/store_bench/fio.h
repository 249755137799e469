// Runs fio, the flexible I/O tester, as the measure of what a disk does.
#pragma once

#include <cstdint>
#include <string>

#include "esa/result.h"

namespace esa::cli {

struct FioJob {
  std::string folder;  // of the file that is written or read
  std::string mode;    // write, read or randread
  std::uint64_t request_bytes = 0;
  std::uint64_t file_bytes = 0;
  int depth = 1;
  bool huge_pages = true;
};

struct FioResult {
  double gbps = 0;
  double cpu_per_gb = 0;   // seconds
  double p50_seconds = 0;  // of one request
  double p99_seconds = 0;
};

bool HasFio();

// The version's own name, such as "fio-3.33".
std::string FioVersion();

Result<FioResult> RunFio(const FioJob& job);

// Huge pages that fio's buffers come from are reserved as long as this lives, where we may.
class ReservedHugePages {
 public:
  explicit ReservedHugePages(int pages);
  ~ReservedHugePages();
  ReservedHugePages(const ReservedHugePages&) = delete;
  ReservedHugePages& operator=(const ReservedHugePages&) = delete;
  bool reserved() const { return reserved_; }

 private:
  std::string before_;
  bool reserved_ = false;
};

}  // namespace esa::cli
