// Few rows in GB/s of weights, many rows in GFLOP/s.
#include <vector>

#include "ops/linear.h"
#include "ops/quantize.h"
#include "ops/testing/bench.h"

namespace esa {
namespace {

// Several matrices of a small model in turn, 256 MiB of them: none is found in a cache.
void BM_FewRows(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const std::int64_t m = state.range(1);
  constexpr std::int64_t kCols = 2048;
  constexpr std::int64_t kRows = 2048;
  const std::int64_t matrix_bytes = kRows * kCols * DTypeBytes(dtype);
  const std::int64_t count = (256 << 20) / matrix_bytes;
  const BenchMemory memory(count * matrix_bytes);
  const std::vector<float> x(static_cast<std::size_t>(m * kCols), 0.5f);
  std::vector<float> y(static_cast<std::size_t>(m * kRows));
  const BenchThreads threads(state, 2);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < count; ++i) {
      Linear({memory.data() + i * matrix_bytes, dtype, kRows, kCols}, {}, x.data(), m, y.data());
    }
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["GB/s"] = Giga(static_cast<double>(count * matrix_bytes));
}
BENCHMARK(BM_FewRows)
    ->ArgNames({"dtype", "m", "threads"})
    ->ArgsProduct({{static_cast<int>(DType::kF32), static_cast<int>(DType::kF16)}, {1}, {1, 2}})
    ->ArgsProduct({{static_cast<int>(DType::kBf16)}, {1, 2, 4, 8, 15}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void BM_ManyRows(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const std::int64_t m = state.range(1);
  constexpr std::int64_t kCols = 2048;
  constexpr std::int64_t kRows = 2048;
  const BenchMemory memory(kRows * kCols * DTypeBytes(dtype));
  const std::vector<float> x(static_cast<std::size_t>(m * kCols), 0.5f);
  std::vector<float> y(static_cast<std::size_t>(m * kRows));
  const BenchThreads threads(state, 2);
  for (auto _ : state) {
    Linear({memory.data(), dtype, kRows, kCols}, {}, x.data(), m, y.data());
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["GFLOP/s"] = Giga(2.0 * static_cast<double>(m * kRows * kCols));
}
BENCHMARK(BM_ManyRows)
    ->ArgNames({"dtype", "m", "threads"})
    ->ArgsProduct({{static_cast<int>(DType::kF32), static_cast<int>(DType::kF16)}, {512}, {1, 2}})
    ->ArgsProduct({{static_cast<int>(DType::kBf16)}, {16, 64, 512}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// The same two of integers.
void BM_ManyRowsOfIntegers(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const std::int64_t m = state.range(1);
  const std::int64_t cols = state.range(2);
  constexpr std::int64_t kRows = 2048;
  const BenchMemory memory(QuantizedBytes(dtype, kRows, cols));
  const std::vector<float> x(static_cast<std::size_t>(m * cols), 0.5f);
  std::vector<float> y(static_cast<std::size_t>(m * kRows));
  const BenchThreads threads(state, 3);
  for (auto _ : state) {
    Linear({memory.data(), dtype, kRows, cols}, {}, x.data(), m, y.data());
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["GFLOP/s"] = Giga(2.0 * static_cast<double>(m * kRows * cols));
}
BENCHMARK(BM_ManyRowsOfIntegers)
    ->ArgNames({"dtype", "m", "cols", "threads"})
    ->ArgsProduct({{static_cast<int>(DType::kInt8), static_cast<int>(DType::kInt4)},
                   {8, 16, 64, 512},
                   {896, 4864},
                   {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void BM_FewRowsOfIntegers(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const std::int64_t m = state.range(1);
  constexpr std::int64_t kCols = 2048;
  constexpr std::int64_t kRows = 2048;
  const std::int64_t matrix_bytes = QuantizedBytes(dtype, kRows, kCols);
  const std::int64_t count = (256 << 20) / matrix_bytes;
  const BenchMemory memory(count * matrix_bytes);
  const std::vector<float> x(static_cast<std::size_t>(m * kCols), 0.5f);
  std::vector<float> y(static_cast<std::size_t>(m * kRows));
  const BenchThreads threads(state, 2);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < count; ++i) {
      Linear({memory.data() + i * matrix_bytes, dtype, kRows, kCols}, {}, x.data(), m, y.data());
    }
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["GB/s"] = Giga(static_cast<double>(count * matrix_bytes));
}
BENCHMARK(BM_FewRowsOfIntegers)
    ->ArgNames({"dtype", "m", "threads"})
    ->ArgsProduct({{static_cast<int>(DType::kInt8), static_cast<int>(DType::kInt4)},
                   {1, 2, 4, 15},
                   {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace esa
