// Dump and load of 64 KiB slices in memory, alone and above a posix store.
//
// Args: verify_checksums (0, 1), for what verification costs; threads share one store. Reported:
// bytes of slices per second of wall time, of all threads.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

constexpr BlockLayout kLayout{
    .block_tokens = 128, .num_slices = 256, .slice_bytes = 65536, .representation_bytes = 512};
constexpr std::uint32_t kBlocks = 16;  // of 16 MiB
constexpr auto kTaskBytes = static_cast<std::int64_t>(kLayout.num_slices * kLayout.slice_bytes);

std::unique_ptr<BlockStore> OpenStore(const StoreConfig& config) {
  auto store = CreateBlockStore(config, kLayout);
  ESA_CHECK(store.ok());
  return *std::move(store);
}

const std::vector<SampleBlock>& Samples() {
  static const std::vector<SampleBlock> samples = [] {
    std::vector<SampleBlock> made;
    for (std::uint32_t seed = 0; seed < kBlocks; ++seed) made.emplace_back(seed, kLayout);
    return made;
  }();
  return samples;
}

std::unique_ptr<BlockStore> store;  // of the benchmark that runs; made by its first thread

void BM_MemoryDump(benchmark::State& state) {
  if (state.thread_index() == 0) {
    store = OpenStore({.backend = "memory", .capacity_bytes = 512u << 20});
    for (const SampleBlock& block : Samples()) DumpAll(*store, block);  // touches the memory
  }
  auto next = static_cast<std::size_t>(state.thread_index());
  for (auto _ : state) {
    const SampleBlock& block = Samples()[next % kBlocks];
    next += static_cast<std::size_t>(state.threads());
    ESA_CHECK(store->Remove(block.id()).ok());
    ESA_CHECK(DumpAll(*store, block).failures.empty());
  }
  state.SetBytesProcessed(state.iterations() * kTaskBytes);
  if (state.thread_index() == 0) store.reset();
}
BENCHMARK(BM_MemoryDump)->Threads(1)->Threads(2)->UseRealTime();

// A task reads one slice of each block, 16 at a time, as one head of one layer asks.
void BM_MemoryLoad(benchmark::State& state) {
  if (state.thread_index() == 0) {
    store = OpenStore({.backend = "memory", .verify_checksums = state.range(0) != 0});
    for (const SampleBlock& block : Samples()) DumpAll(*store, block);
  }
  const AlignedBuffer buffer = MakeAligned(kBlocks * kLayout.slice_bytes);
  auto slice = static_cast<std::uint32_t>(state.thread_index());
  for (auto _ : state) {
    std::vector<SliceRead> reads;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      reads.push_back({Samples()[i].id(), slice, buffer.get() + i * kLayout.slice_bytes});
    }
    slice = (slice + 1) % kLayout.num_slices;
    ESA_CHECK(Finish(*store, store->Load(std::move(reads))).failures.empty());
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(kBlocks * kLayout.slice_bytes));
  if (state.thread_index() == 0) store.reset();
}
BENCHMARK(BM_MemoryLoad)->ArgName("verify")->Arg(0)->Arg(1)->Threads(1)->Threads(2)->UseRealTime();

// behind 1: until the caller's buffers are free; 0: until all is in the lower tier.
void BM_StackDump(benchmark::State& state) {
  const TemporaryFolder folder;
  const bool behind = state.range(0) != 0;
  const auto stack = OpenStore({.backend = "memory|posix", .storage_backends = {folder.path()}});
  std::uint32_t next = 0;
  for (auto _ : state) {
    const SampleBlock& block = Samples()[next++ % kBlocks];
    ESA_CHECK(DumpAll(*stack, block).failures.empty());
    if (behind) state.PauseTiming();
    ESA_CHECK(stack->Flush(Soon()).ok());
    if (!behind) state.PauseTiming();
    ESA_CHECK(stack->Remove(block.id()).ok());
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * kTaskBytes);
}
BENCHMARK(BM_StackDump)->ArgName("behind")->Arg(0)->Arg(1)->UseRealTime();

// Sixteen blocks from the page cache into memory, whole.
void BM_StackPrefetch(benchmark::State& state) {
  const TemporaryFolder folder;
  std::vector<BlockId> ids;
  {
    const auto posix = OpenStore({.backend = "posix", .storage_backends = {folder.path()}});
    for (const SampleBlock& block : Samples()) {
      ESA_CHECK(DumpAll(*posix, block).failures.empty());
      ids.push_back(block.id());
    }
  }
  for (auto _ : state) {
    state.PauseTiming();
    auto stack = OpenStore({.backend = "memory|posix", .storage_backends = {folder.path()}});
    state.ResumeTiming();
    Finish(*stack, stack->Prefetch(ids));
    state.PauseTiming();
    ESA_CHECK(stack->Stats().promoted_blocks == kBlocks);
    stack.reset();
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * kBlocks * kTaskBytes);
}
BENCHMARK(BM_StackPrefetch)->UseRealTime();

}  // namespace
}  // namespace esa::testing
