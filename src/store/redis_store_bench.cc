// Dump and load through the redis store, over the Unix socket of a server of its own.
//
// Args: KiB of a slice, I/O threads. Server and client share the machine's cores, so this is what
// one machine does by itself, not what a network carries. Reported: bytes of slices per second of
// wall time.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "store/testing/redis_server.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

constexpr std::uint64_t kBlockBytes = 16u << 20;
constexpr std::uint32_t kBlocks = 16;

BlockLayout LayoutOf(const benchmark::State& state) {
  const auto slice_bytes = static_cast<std::uint64_t>(state.range(0)) << 10;
  return {.block_tokens = 128,
          .num_slices = static_cast<std::uint32_t>(kBlockBytes / slice_bytes),
          .slice_bytes = slice_bytes,
          .representation_bytes = 512};
}

std::unique_ptr<BlockStore> OpenStore(const RedisServer& server, const benchmark::State& state) {
  StoreConfig config;
  config.backend = "redis";
  config.redis_url = server.url();
  config.io_threads = static_cast<int>(state.range(1));
  auto store = CreateBlockStore(config, LayoutOf(state));
  ESA_CHECK(store.ok());
  return *std::move(store);
}

std::vector<SampleBlock> Samples(const BlockLayout& layout) {
  std::vector<SampleBlock> samples;
  for (std::uint32_t seed = 0; seed < kBlocks; ++seed) samples.emplace_back(seed, layout);
  return samples;
}

void BM_RedisDump(benchmark::State& state) {
  const RedisServer server;
  const auto store = OpenStore(server, state);
  const auto samples = Samples(LayoutOf(state));
  std::uint32_t next = 0;
  for (auto _ : state) {
    const SampleBlock& block = samples[next++ % kBlocks];
    ESA_CHECK(DumpAll(*store, block).failures.empty());
    state.PauseTiming();
    ESA_CHECK(store->Remove(block.id()).ok());
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBlockBytes));
}

// A task reads one slice of each block, as one head of one layer asks.
void BM_RedisLoad(benchmark::State& state) {
  const RedisServer server;
  const auto store = OpenStore(server, state);
  const BlockLayout layout = LayoutOf(state);
  const auto samples = Samples(layout);
  for (const SampleBlock& block : samples) ESA_CHECK(DumpAll(*store, block).failures.empty());
  const AlignedBuffer buffer = MakeAligned(kBlocks * layout.slice_bytes);
  std::uint32_t slice = 0;
  for (auto _ : state) {
    std::vector<SliceRead> reads;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      reads.push_back({samples[i].id(), slice, buffer.get() + i * layout.slice_bytes});
    }
    slice = (slice + 1) % layout.num_slices;
    ESA_CHECK(Finish(*store, store->Load(std::move(reads))).failures.empty());
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(kBlocks * layout.slice_bytes));
}

void BM_RedisLookupPrefix(benchmark::State& state) {
  const RedisServer server;
  const auto store = OpenStore(server, state);
  const auto samples = Samples(LayoutOf(state));
  std::vector<BlockKey> keys;
  for (const SampleBlock& block : samples) {
    ESA_CHECK(DumpAll(*store, block).failures.empty());
    keys.push_back(block.key());
  }
  for (auto _ : state) ESA_CHECK(store->LookupPrefix(keys) == kBlocks);
  state.SetItemsProcessed(state.iterations() * kBlocks);
}

void SlicesAndThreads(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"slice_kib", "threads"})->ArgsProduct({{64, 1024}, {1, 2}})->UseRealTime();
}
BENCHMARK(BM_RedisDump)->Apply(SlicesAndThreads);
BENCHMARK(BM_RedisLoad)->Apply(SlicesAndThreads);
BENCHMARK(BM_RedisLookupPrefix)->ArgNames({"slice_kib", "threads"})->Args({64, 2})->UseRealTime();

}  // namespace
}  // namespace esa::testing
