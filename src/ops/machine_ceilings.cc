#include "ops/machine_ceilings.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/zeroed_pages.h"
#include "ops/kernels/kernels.h"

namespace esa {
namespace {

constexpr int kRounds = 5;
constexpr std::int64_t kReadBytes = 256 << 20;  // eight times a large last-level cache
constexpr std::int64_t kReadPiece = 1 << 20;
constexpr std::int64_t kProbeRounds = 1 << 22;

template <class Op>
double MedianSeconds(Op op) {
  std::vector<double> seconds;
  for (int i = 0; i < kRounds; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    op();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRounds / 2, seconds.end());
  return seconds[kRounds / 2];
}

double ReadRate(const std::byte* data, int threads) {
  volatile std::uint64_t sink = 0;
  return kReadBytes / MedianSeconds([&] { sink = sink + ReadMemory(data, kReadBytes, threads); });
}

double ArithmeticRate(const ArithmeticProbe& probe, int threads) {
  if (probe.run == nullptr) return 0;
  const double operations = static_cast<double>(kProbeRounds * probe.operations) * threads;
  return operations / MedianSeconds([&] {
           float total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
           total += probe.run(kProbeRounds);
           volatile float sink = total;
           (void)sink;
         });
}

}  // namespace

// Processors do not by themselves get all there is.
std::uint64_t ReadMemory(const std::byte* data, std::int64_t bytes, int threads) {
  std::uint64_t total = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : total)
  for (std::int64_t at = 0; at < bytes; at += kReadPiece) {
    std::uint64_t sums[8] = {};
    for (std::int64_t i = 0; i < kReadPiece; i += 64) {
      __builtin_prefetch(data + at + i + (8 << 10));
      std::uint64_t words[8];
      std::memcpy(words, data + at + i, sizeof(words));
      for (int j = 0; j < 8; ++j) sums[j] += words[j];
    }
    for (const std::uint64_t sum : sums) total += sum;
  }
  return total;
}

MachineCeilings MeasureCeilings(int threads) {
  const Kernels& kernels = CurrentKernels();
  const ZeroedPages memory(kReadBytes);
  std::memset(memory.data(), 1, memory.size());
  MachineCeilings ceilings{.threads = threads > 0 ? threads : omp_get_max_threads()};
  ceilings.read_bytes = ReadRate(memory.data(), ceilings.threads);
  ceilings.read_bytes_one_thread = ReadRate(memory.data(), 1);
  ceilings.f32_operations = ArithmeticRate(kernels.probe_f32, ceilings.threads);
  ceilings.f32_operations_one_thread = ArithmeticRate(kernels.probe_f32, 1);
  ceilings.bf16_operations = ArithmeticRate(kernels.probe_bf16, ceilings.threads);
  return ceilings;
}

std::string CeilingsText(const MachineCeilings& ceilings) {
  std::string text = fmt::format(
      "{} threads: {:.1f} GB/s read (1: {:.1f}), {:.0f} GFLOP/s in f32 (1: {:.0f})",
      ceilings.threads, ceilings.read_bytes * 1e-9, ceilings.read_bytes_one_thread * 1e-9,
      ceilings.f32_operations * 1e-9, ceilings.f32_operations_one_thread * 1e-9);
  if (ceilings.bf16_operations > 0) {
    text += fmt::format(", {:.0f} in bf16", ceilings.bf16_operations * 1e-9);
  }
  return text;
}

}  // namespace esa
