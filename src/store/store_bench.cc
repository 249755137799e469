// Dump and load of 64 KiB slices through the posix store, in a folder below TMPDIR.
//
// Args: O_DIRECT (0, 1). Buffered loads come from the page cache unless the folder is larger than
// memory: compare with the O_DIRECT rows for what the disk does. Reported: bytes of slices per
// second of wall time.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

constexpr BlockLayout kLayout{
    .block_tokens = 128, .num_slices = 256, .slice_bytes = 65536, .representation_bytes = 512};
constexpr std::uint32_t kBlocks = 16;  // of 16 MiB
constexpr auto kTaskBytes = static_cast<std::int64_t>(kLayout.num_slices * kLayout.slice_bytes);

std::unique_ptr<BlockStore> OpenStore(const TemporaryFolder& folder, bool direct) {
  StoreConfig config;
  config.storage_backends = {folder.path()};
  config.io_direct = direct;
  auto store = CreateBlockStore(config, kLayout);
  ESA_CHECK(store.ok());
  return *std::move(store);
}

std::vector<SampleBlock> Samples() {
  std::vector<SampleBlock> samples;
  for (std::uint32_t seed = 0; seed < kBlocks; ++seed) samples.emplace_back(seed, kLayout);
  return samples;
}

void BM_Dump(benchmark::State& state) {
  const TemporaryFolder folder;
  const auto store = OpenStore(folder, state.range(0) != 0);
  const auto samples = Samples();
  std::uint32_t next = 0;
  for (auto _ : state) {
    const SampleBlock& block = samples[next++ % kBlocks];
    ESA_CHECK(DumpAll(*store, block).failures.empty());
    state.PauseTiming();
    ESA_CHECK(store->Remove(block.id()).ok());
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * kTaskBytes);
}
BENCHMARK(BM_Dump)->ArgName("direct")->Arg(0)->Arg(1)->UseRealTime();

// A task reads one slice of each block, 16 at a time, as one head of one layer asks.
void BM_Load(benchmark::State& state) {
  const TemporaryFolder folder;
  const auto store = OpenStore(folder, state.range(0) != 0);
  const auto samples = Samples();
  for (const SampleBlock& block : samples) ESA_CHECK(DumpAll(*store, block).failures.empty());
  const AlignedBuffer buffer = MakeAligned(kBlocks * kLayout.slice_bytes);
  std::uint32_t slice = 0;
  for (auto _ : state) {
    std::vector<SliceRead> reads;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      reads.push_back({samples[i].id(), slice, buffer.get() + i * kLayout.slice_bytes});
    }
    slice = (slice + 1) % kLayout.num_slices;
    ESA_CHECK(Finish(*store, store->Load(std::move(reads))).failures.empty());
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(kBlocks * kLayout.slice_bytes));
}
BENCHMARK(BM_Load)->ArgName("direct")->Arg(0)->Arg(1)->UseRealTime();

void BM_LookupPrefix(benchmark::State& state) {
  const TemporaryFolder folder;
  const auto store = OpenStore(folder, false);
  const auto samples = Samples();
  std::vector<BlockKey> keys;
  for (const SampleBlock& block : samples) {
    ESA_CHECK(DumpAll(*store, block).failures.empty());
    keys.push_back(block.key());
  }
  for (auto _ : state) ESA_CHECK(store->LookupPrefix(keys) == kBlocks);
  state.SetItemsProcessed(state.iterations() * kBlocks);
}
BENCHMARK(BM_LookupPrefix)->UseRealTime();

}  // namespace
}  // namespace esa::testing
