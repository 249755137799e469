// In GB/s of what is read and written, for the 512 rows of a prefill chunk (in the caches) and
// for one row.
#include <numeric>
#include <vector>

#include "ops/elementwise.h"
#include "ops/testing/bench.h"

namespace esa {
namespace {

constexpr std::int64_t kWidth = 2048;

void RowsAndThreads(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"rows", "threads"})->ArgsProduct({{1, 512}, {1, 2}})->UseRealTime();
}

void BM_RmsNorm(benchmark::State& state) {
  const std::int64_t values = state.range(0) * kWidth;
  const BenchMemory x(values * 4);
  const BenchMemory y(values * 4);
  const std::vector<float> weight(kWidth, 1.0f);
  const BenchThreads threads(state, 1);
  for (auto _ : state) RmsNorm(x.floats(), state.range(0), weight, 1e-6f, y.floats());
  state.counters["GB/s"] = Giga(static_cast<double>(8 * values));
}
BENCHMARK(BM_RmsNorm)->Apply(RowsAndThreads);

void BM_Rope(benchmark::State& state) {
  const std::int64_t values = state.range(0) * kWidth;
  const BenchMemory x(values * 4);
  std::vector<std::int32_t> positions(static_cast<std::size_t>(state.range(0)));
  std::iota(positions.begin(), positions.end(), 100000);
  const std::vector<float> inverse_frequency(64, 0.37f);
  const BenchThreads threads(state, 1);
  for (auto _ : state) Rope(x.floats(), positions, kWidth / 128, 128, inverse_frequency);
  state.counters["GB/s"] = Giga(static_cast<double>(8 * values));
}
BENCHMARK(BM_Rope)->Apply(RowsAndThreads);

void BM_SwiGlu(benchmark::State& state) {
  const std::int64_t values = state.range(0) * kWidth;
  const BenchMemory gate(values * 4);
  const BenchMemory up(values * 4);
  const BenchMemory y(values * 4);
  const BenchThreads threads(state, 1);
  for (auto _ : state) SwiGlu(gate.floats(), up.floats(), values, y.floats());
  state.counters["GB/s"] = Giga(static_cast<double>(12 * values));
}
BENCHMARK(BM_SwiGlu)->Apply(RowsAndThreads);

void BM_AddInPlace(benchmark::State& state) {
  const std::int64_t values = state.range(0) * kWidth;
  const BenchMemory x(values * 4);
  const BenchMemory y(values * 4);
  const BenchThreads threads(state, 1);
  for (auto _ : state) AddInPlace(x.floats(), values, y.floats());
  state.counters["GB/s"] = Giga(static_cast<double>(12 * values));
}
BENCHMARK(BM_AddInPlace)->Apply(RowsAndThreads);

}  // namespace
}  // namespace esa
