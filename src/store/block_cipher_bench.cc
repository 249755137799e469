// What encryption costs beside the checksum: one thread, bytes per second of parts in cache.
//
// Args: bytes of a part. Every part has a key of its own, as the first of a file has.
#include <benchmark/benchmark.h>

#include <array>
#include <vector>

#include "base/check.h"
#include "store/block_cipher.h"
#include "store/checksum.h"

namespace esa {
namespace {

constexpr std::int64_t kKiB = 1024;

struct Part {
  explicit Part(const benchmark::State& state)
      : plain(static_cast<std::size_t>(state.range(0)), std::byte{1}), stored(plain.size()) {}

  std::array<std::byte, 96> bound{};
  std::vector<std::byte> plain;
  std::vector<std::byte> stored;
  PartTag tag{};
};

SecretKey Key() {
  const std::array<std::byte, SecretKey::kBytes> bytes{};
  return SecretKey(bytes);
}

void CountBytes(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void BM_Checksum(benchmark::State& state) {
  const Part part(state);
  for (auto _ : state) benchmark::DoNotOptimize(Checksum(part.plain));
  CountBytes(state);
}
BENCHMARK(BM_Checksum)->Arg(64 * kKiB)->Arg(1024 * kKiB);

void BM_Seal(benchmark::State& state) {
  Part part(state);
  const SecretKey key = Key();
  for (auto _ : state) {
    ESA_CHECK(SealBytes(key, 0, part.bound, part.plain, part.stored, &part.tag).ok());
  }
  CountBytes(state);
}
BENCHMARK(BM_Seal)->Arg(64)->Arg(64 * kKiB)->Arg(1024 * kKiB);

void BM_Open(benchmark::State& state) {
  Part part(state);
  const SecretKey key = Key();
  ESA_CHECK(SealBytes(key, 0, part.bound, part.plain, part.stored, &part.tag).ok());
  for (auto _ : state) {
    ESA_CHECK(OpenBytes(key, 0, part.bound, part.stored, part.tag, part.plain).ok());
  }
  CountBytes(state);
}
BENCHMARK(BM_Open)->Arg(64)->Arg(64 * kKiB)->Arg(1024 * kKiB);

void BM_FileKey(benchmark::State& state) {
  const BlockCipher cipher(Key());
  for (auto _ : state) benchmark::DoNotOptimize(cipher.FileKey({}, {}));
}
BENCHMARK(BM_FileKey);

}  // namespace
}  // namespace esa
