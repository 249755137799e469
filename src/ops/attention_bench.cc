// Decode in GB/s of KV, prefill in GFLOP/s (two products of one multiplication and one addition;
// what causality hides is not counted).
#include <cmath>
#include <vector>

#include "ops/attention.h"
#include "ops/testing/bench.h"

namespace esa {
namespace {

std::vector<SliceView> MakeSlices(const SliceLayout& layout, const BenchMemory& memory,
                                  std::int64_t count) {
  std::vector<SliceView> slices;
  for (std::int64_t s = 0; s < count; ++s) {
    slices.push_back({.data = memory.data() + s * layout.slice_bytes(),
                      .first_position = static_cast<std::int32_t>(s) * layout.block_tokens,
                      .num_tokens = layout.block_tokens});
  }
  return slices;
}

// 256 MiB of KV, far beyond the caches, of two KV heads.
void BM_Decode(benchmark::State& state) {
  const auto dtype = static_cast<KvDtype>(state.range(3));
  const SliceLayout layout = {128, static_cast<int>(state.range(0)), dtype};
  const auto group = static_cast<int>(state.range(1));
  const std::int64_t bytes = 256 << 20;
  const BenchMemory memory(bytes);
  const std::vector<SliceView> slices = MakeSlices(layout, memory, bytes / layout.slice_bytes());
  const std::size_t half = slices.size() / 2;
  std::vector<float> q(static_cast<std::size_t>(2 * group * layout.head_dim), 0.01f);
  std::vector<float> out(q.size());
  const std::size_t second = q.size() / 2;
  const std::vector<DecodeAttentionItem> items = {
      {q.data(), out.data(), std::span(slices).first(half)},
      {q.data() + second, out.data() + second, std::span(slices).subspan(half)}};
  const BenchThreads threads(state, 2);
  for (auto _ : state) {
    DecodeAttention(layout, items, group, 0.1f);
    benchmark::DoNotOptimize(out.data());
  }
  state.counters["GB/s"] = Giga(static_cast<double>(bytes));
}
BENCHMARK(BM_Decode)
    ->ArgNames({"head_dim", "group", "threads", "dtype"})
    ->ArgsProduct({{64, 128}, {1, 2, 7, 8}, {1, 2}, {0, 2}})
    ->ArgsProduct({{64}, {7}, {1, 2}, {1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// A chunk of 512 rows at position 3584, two KV heads.
void BM_Prefill(benchmark::State& state) {
  constexpr int kRows = 512;
  constexpr int kFirst = 3584;
  const auto dtype = static_cast<KvDtype>(state.range(3));
  const SliceLayout layout = {128, static_cast<int>(state.range(0)), dtype};
  const auto group = static_cast<int>(state.range(1));
  const std::int64_t num_slices = (kFirst + kRows) / layout.block_tokens;
  const BenchMemory memory(2 * num_slices * layout.slice_bytes());
  const std::vector<SliceView> slices = MakeSlices(layout, memory, num_slices);
  const std::int64_t head_values = static_cast<std::int64_t>(group) * layout.head_dim;
  std::vector<float> q(static_cast<std::size_t>(2 * head_values * kRows), 0.01f);
  std::vector<float> out(q.size());
  std::vector<PrefillAttentionItem> items;
  for (int head = 0; head < 2; ++head) {
    items.push_back({.q = q.data() + head * head_values,
                     .out = out.data() + head * head_values,
                     .row_stride = 2 * head_values,
                     .num_rows = kRows,
                     .first_position = kFirst,
                     .slices = slices});
  }
  const BenchThreads threads(state, 2);
  for (auto _ : state) {
    PrefillAttention(layout, items, group, 0.1f);
    benchmark::DoNotOptimize(out.data());
  }
  const double pairs = 2.0 * group * kRows * (kFirst + kRows / 2.0);
  state.counters["GFLOP/s"] = Giga(4 * pairs * layout.head_dim);
}
BENCHMARK(BM_Prefill)
    ->ArgNames({"head_dim", "group", "threads", "dtype"})
    ->ArgsProduct({{64, 128}, {1, 2, 7}, {1, 2}, {0}})
    ->ArgsProduct({{64}, {7}, {1, 2}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// One block of one KV head, its rows as a projection leaves them (two heads side by side).
void BM_AppendToSlice(benchmark::State& state) {
  const SliceLayout layout = {128, static_cast<int>(state.range(0)), KvDtype::kBf16};
  const BenchMemory memory(layout.slice_bytes());
  const std::vector<float> rows(static_cast<std::size_t>(4 * 128 * layout.head_dim), 0.5f);
  for (auto _ : state) {
    AppendToSlice(layout, memory.data(), 0, 128, rows.data(), rows.data(), 2 * layout.head_dim);
    benchmark::ClobberMemory();
  }
  state.counters["GB/s"] = Giga(static_cast<double>(2 * layout.tile_bytes()));
}
BENCHMARK(BM_AppendToSlice)->ArgName("head_dim")->Arg(64)->Arg(128);

void BM_MeanKey(benchmark::State& state) {
  const SliceLayout layout = {128, static_cast<int>(state.range(0)), KvDtype::kBf16};
  const BenchMemory memory(layout.slice_bytes());
  std::vector<float> mean(static_cast<std::size_t>(layout.head_dim));
  for (auto _ : state) {
    MeanKey(layout, memory.data(), 0, 128, mean.data());
    benchmark::DoNotOptimize(mean.data());
  }
  state.counters["GB/s"] = Giga(static_cast<double>(layout.tile_bytes()));
}
BENCHMARK(BM_MeanKey)->ArgName("head_dim")->Arg(64)->Arg(128);

}  // namespace
}  // namespace esa
