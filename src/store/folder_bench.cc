// What a folder of the posix store costs beside moving bytes: lookups, uses marked on disk, and the
// scan when it is opened. Below TMPDIR.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/check.h"
#include "base/random.h"
#include "store/posix/file_names.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

std::unique_ptr<BlockStore> OpenStore(const std::string& path, std::uint64_t capacity_bytes = 0) {
  StoreConfig config;
  config.storage_backends = {path};
  config.capacity_bytes = capacity_bytes;
  auto store = CreateBlockStore(config, kSmallLayout);
  ESA_CHECK(store.ok());
  return *std::move(store);
}

// Heads at hand, files in the page cache, one thread. Arg: blocks of one call.
void BM_LookupHits(benchmark::State& state) {
  const TemporaryFolder folder;
  const auto store = OpenStore(folder.path());
  std::vector<SampleBlock> samples;
  for (std::uint32_t seed = 0; seed < state.range(0); ++seed) samples.emplace_back(seed);
  std::vector<BlockKey> keys;
  for (const SampleBlock& block : samples) {
    ESA_CHECK(DumpAll(*store, block).failures.empty());
    keys.push_back(block.key());
  }
  ESA_CHECK(store->LookupPrefix(keys) == keys.size());
  for (auto _ : state) benchmark::DoNotOptimize(store->LookupPrefix(keys));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_LookupHits)
    ->ArgName("blocks")
    ->Arg(1000)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// Begin of what is stored already, as a prompt whose blocks are all known asks.
void BM_BeginOfStored(benchmark::State& state) {
  const TemporaryFolder folder;
  const auto store = OpenStore(folder.path());
  const SampleBlock block(1);
  DumpAll(*store, block);
  for (auto _ : state) ESA_CHECK(!*store->Begin(block.key(), {}));
}
BENCHMARK(BM_BeginOfStored)->UseRealTime();

// One slice in, block out again. Arg: whether a capacity bounds the folder.
void BM_DumpOfASmallBlock(benchmark::State& state) {
  const TemporaryFolder folder;
  const auto store = OpenStore(folder.path(), state.range(0) != 0 ? 1u << 20 : 0);
  std::vector<SampleBlock> samples;
  for (std::uint32_t seed = 0; seed < 1000; ++seed) samples.emplace_back(seed);
  std::size_t next = 0;
  for (auto _ : state) {
    const SampleBlock& block = samples[next++ % samples.size()];
    ESA_CHECK(DumpAll(*store, block).failures.empty());
    if (state.range(0) != 0) continue;
    ESA_CHECK(store->Remove(block.id()).ok());
  }
}
BENCHMARK(BM_DumpOfASmallBlock)->ArgName("bounded")->Arg(0)->Arg(1)->UseRealTime();

// Files of one page under the names of blocks: the scan reads no more than their names and facts.
void FillFolder(const std::string& path, std::int64_t blocks) {
  SplitMix64 random(1);
  const std::string page(4096, 'x');
  for (std::int64_t i = 0; i < blocks; ++i) {
    BlockId id;
    for (std::uint8_t& byte : id.bytes) byte = static_cast<std::uint8_t>(random.Next());
    mkdir(FanOutPath(path, id).c_str(), 0700);
    std::ofstream(BlockPath(path, id), std::ios::binary) << page;
  }
  sync();
}

// ESA_SCAN_FOLDER names a folder filled before, for runs after the caches were dropped: then the
// first repetition is cold.
void BM_Open(benchmark::State& state) {
  const TemporaryFolder temporary;
  const char* kept = std::getenv("ESA_SCAN_FOLDER");
  const std::string path = kept != nullptr ? kept : temporary.path();
  if (access((path + "/00").c_str(), F_OK) != 0) FillFolder(path, state.range(0));
  for (auto _ : state) {
    const auto store = OpenStore(path);
    ESA_CHECK(store->Stats().blocks == static_cast<std::uint64_t>(state.range(0)));
  }
}
BENCHMARK(BM_Open)
    ->ArgName("blocks")
    ->Arg(100000)
    ->Iterations(1)
    ->Repetitions(3)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace esa::testing
