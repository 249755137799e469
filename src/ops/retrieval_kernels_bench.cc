// Scores in GB/s of representations, selection in scores a second.
#include <random>
#include <vector>

#include "ops/retrieval_kernels.h"
#include "ops/testing/bench.h"

namespace esa {
namespace {

// 128 MiB of representations: beyond the caches.
void BM_DotRows(benchmark::State& state) {
  const std::int64_t dim = state.range(0);
  const std::int64_t count = (128 << 20) / 4 / dim;
  const BenchMemory rows(count * dim * 4);
  const std::vector<float> query(static_cast<std::size_t>(dim), 0.5f);
  std::vector<float> scores(static_cast<std::size_t>(count));
  for (auto _ : state) {
    DotRows({.data = rows.floats(), .dim = dim}, count, query.data(), 1, scores.data(), count,
            false);
    benchmark::DoNotOptimize(scores.data());
  }
  state.counters["GB/s"] = Giga(static_cast<double>(count * dim * 4));
}
BENCHMARK(BM_DotRows)->ArgName("dim")->Arg(64)->Arg(128)->Arg(1024)->Unit(benchmark::kMillisecond);

void BM_TopK(benchmark::State& state) {
  std::vector<float> scores(static_cast<std::size_t>(state.range(0)));
  std::mt19937 engine(1);
  std::normal_distribution<float> distribution;
  for (float& score : scores) score = distribution(engine);
  TopKScratch scratch;
  std::vector<std::int32_t> best;
  for (auto _ : state) {
    TopK(scores, state.range(0) / 5, &scratch, &best);
    benchmark::DoNotOptimize(best.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_TopK)->ArgName("count")->Arg(256)->Arg(8192)->Arg(65536);

}  // namespace
}  // namespace esa
