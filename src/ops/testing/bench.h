// What the micro-benchmarks share: memory as the engine has it, and the number of threads.
#pragma once

#include <benchmark/benchmark.h>
#include <omp.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace esa {

// `bytes` bytes in huge pages where the system has them, filled with small finite values of any
// 16 or 32-bit type.
class BenchMemory {
 public:
  explicit BenchMemory(std::int64_t bytes) {
    constexpr std::size_t kHugePage = 2 << 20;
    const auto size = (static_cast<std::size_t>(bytes) + kHugePage - 1) / kHugePage * kHugePage;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePage, size)));
    if (!data_) throw std::bad_alloc();
    madvise(data_.get(), size, MADV_HUGEPAGE);
    std::memset(data_.get(), 0x3c, size);
  }
  std::byte* data() const { return data_.get(); }
  float* floats() const { return reinterpret_cast<float*>(data_.get()); }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte[], Free> data_;
};

// Runs the loop with as many OpenMP threads as the benchmark's argument `index` says.
class BenchThreads {
 public:
  BenchThreads(const benchmark::State& state, int index) : before_(omp_get_max_threads()) {
    omp_set_num_threads(static_cast<int>(state.range(index)));
  }
  ~BenchThreads() { omp_set_num_threads(before_); }
  BenchThreads(const BenchThreads&) = delete;
  BenchThreads& operator=(const BenchThreads&) = delete;

 private:
  int before_;
};

// A counter of `per_iteration` things a second, in units of 1e9.
inline benchmark::Counter Giga(double per_iteration) {
  return {per_iteration * 1e-9, benchmark::Counter::kIsIterationInvariantRate};
}

}  // namespace esa
