// Scores in GB/s of representations, selection in scores a second.
#include <random>
#include <vector>

#include "ops/attention.h"
#include "ops/retrieval_kernels.h"
#include "ops/testing/bench.h"

namespace esa {
namespace {

std::int64_t ValueBytes(RepresentationType type) {
  return type == RepresentationType::kF32 ? 4 : type == RepresentationType::kBf16 ? 2 : 1;
}

// 128 MiB of representations: beyond the caches.
void BM_DotRows(benchmark::State& state) {
  const auto type = static_cast<RepresentationType>(state.range(0));
  const std::int64_t dim = state.range(1);
  const int queries = static_cast<int>(state.range(2));
  const std::int64_t row_bytes = dim * ValueBytes(type);
  const std::int64_t count = (128 << 20) / row_bytes;
  const BenchMemory rows(count * row_bytes);
  const std::vector<float> scales(static_cast<std::size_t>(count), 0.5f);
  const std::vector<float> query(static_cast<std::size_t>(queries * dim), 0.5f);
  std::vector<float> scores(static_cast<std::size_t>(queries * count));
  for (auto _ : state) {
    DotRows({.data = rows.data(), .scales = scales.data(), .type = type, .dim = dim}, count,
            query.data(), queries, scores.data(), count, false);
    benchmark::DoNotOptimize(scores.data());
  }
  state.counters["GB/s"] = Giga(static_cast<double>(count * row_bytes));
}
BENCHMARK(BM_DotRows)
    ->ArgNames({"type", "dim", "queries"})
    ->ArgsProduct({{static_cast<int>(RepresentationType::kF32),
                    static_cast<int>(RepresentationType::kBf16),
                    static_cast<int>(RepresentationType::kInt8)},
                   {64, 128},
                   {1, 2, 4, 8}})
    ->Unit(benchmark::kMillisecond);

// Codes of 128 tokens for each block, 128 MiB of them.
void BM_CodeMatches(benchmark::State& state) {
  const int words = static_cast<int>(state.range(0));
  const int queries = static_cast<int>(state.range(1));
  constexpr int kGroup = 128;
  const std::int64_t count = (128 << 20) / (kGroup * words * 8);
  const BenchMemory codes(128 << 20);
  const std::vector<std::uint64_t> query(static_cast<std::size_t>(queries * words), 5);
  std::vector<float> matches(static_cast<std::size_t>(queries * count));
  for (auto _ : state) {
    CodeMatches(reinterpret_cast<const std::uint64_t*>(codes.data()), count, kGroup, words,
                query.data(), queries, matches.data(), count);
    benchmark::DoNotOptimize(matches.data());
  }
  state.counters["GB/s"] = Giga(128 << 20);
}
BENCHMARK(BM_CodeMatches)
    ->ArgNames({"words", "queries"})
    ->ArgsProduct({{1, 2}, {1, 4}})
    ->Unit(benchmark::kMillisecond);

// The codes of a block's 128 tokens.
void BM_MakeCodes(benchmark::State& state) {
  const int bits = static_cast<int>(state.range(0));
  const std::vector<float> projections = CodeProjections(bits, 128);
  const std::vector<float> keys(128 * 128, 0.5f);
  std::vector<std::uint64_t> codes(static_cast<std::size_t>(128 * bits / 64));
  for (auto _ : state) {
    MakeCodes(keys.data(), 128, 128, projections, codes.data());
    benchmark::DoNotOptimize(codes.data());
  }
}
BENCHMARK(BM_MakeCodes)->ArgName("bits")->Arg(128);

// A slice of 128 tokens and 128 dimensions, in parts.
void BM_SummarizeSlice(benchmark::State& state) {
  const SliceLayout layout = {128, 128, static_cast<KvDtype>(state.range(0))};
  const int part_tokens = static_cast<int>(state.range(1));
  const BenchMemory slice(layout.slice_bytes());
  std::vector<float> values(5 * 128);
  const SliceSummary summary = {.mean = values.data(),
                                .variance = values.data() + 128,
                                .lower = values.data() + 2 * 128,
                                .upper = values.data() + 3 * 128,
                                .value_mean = values.data() + 4 * 128};
  for (auto _ : state) {
    for (int first = 0; first < 128; first += part_tokens) {
      SummarizeSlice(layout, slice.data(), first, part_tokens, summary);
      benchmark::DoNotOptimize(values.data());
    }
  }
  state.counters["GB/s"] = Giga(static_cast<double>(layout.slice_bytes()));
}
BENCHMARK(BM_SummarizeSlice)
    ->ArgNames({"dtype", "part_tokens"})
    ->ArgsProduct({{static_cast<int>(KvDtype::kBf16), static_cast<int>(KvDtype::kF32)}, {16, 128}});

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
BENCHMARK(BM_TopK)->ArgName("count")->Arg(64)->Arg(256)->Arg(1024)->Arg(8192)->Arg(65536);

}  // namespace
}  // namespace esa
