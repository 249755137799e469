#include "store/testing/store_fixture.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <thread>
#include <utility>

#include "base/check.h"
#include "store/posix/file_names.h"

namespace esa::testing {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "esa-store-XXXXXX").string();
  ESA_CHECK(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> StoredPaths(FileSystem& files, const std::string& folder) {
  std::vector<std::string> paths;
  const auto names = files.List(folder);
  if (!names) return paths;
  for (const std::string& name : *names) {
    const std::string path = folder + "/" + name;
    if (!IsFanOutName(name) && name != kQuarantineName) {
      paths.push_back(path);
      continue;
    }
    const auto listed = files.ListFiles(path);
    if (!listed) continue;
    for (const ListedFile& file : *listed) paths.push_back(path + "/" + file.name);
  }
  return paths;
}

void AlignedDelete::operator()(std::byte* bytes) const {
  ::operator delete[](bytes, std::align_val_t{4096});
}

AlignedBuffer MakeAligned(std::size_t bytes) {
  return AlignedBuffer(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{4096})));
}

namespace {

constexpr char kServedWrongBytes[] = "served wrong bytes";

// splitmix64 (Steele, Lea, Flood 2014): enough for bytes that differ.
std::uint64_t Mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

void Fill(std::byte* bytes, std::size_t count, std::uint64_t seed) {
  for (std::size_t i = 0; i < count; ++i) {
    bytes[i] = static_cast<std::byte>(Mix(seed + i / 8) >> (i % 8 * 8));
  }
}

}  // namespace

SampleBlock::SampleBlock(std::uint32_t seed, const BlockLayout& layout, const BlockId& parent)
    : layout_(layout),
      parent_(parent),
      slices_(MakeAligned(layout.num_slices * layout.slice_bytes)),
      representations_(std::size_t{layout.num_slices} * layout.representation_bytes) {
  const std::uint64_t base = Mix(seed);
  Fill(reinterpret_cast<std::byte*>(id_.bytes.data()), id_.bytes.size(), base);
  Fill(slices_.get(), layout.num_slices * layout.slice_bytes, base + 1000);
  Fill(representations_.data(), representations_.size(), base + 2000);
  for (std::uint32_t i = 0; i < layout.block_tokens; ++i) {
    tokens_.push_back(static_cast<std::int32_t>(Mix(base + i) % 150000));
  }
}

SliceWrite SampleBlock::Write(std::uint32_t slice) const {
  return {.id = id_,
          .slice = slice,
          .data = this->slice(slice),
          .representation =
              representations_.data() + std::size_t{slice} * layout_.representation_bytes};
}

std::vector<SliceWrite> SampleBlock::Writes() const {
  std::vector<SliceWrite> writes;
  for (std::uint32_t i = 0; i < layout_.num_slices; ++i) writes.push_back(Write(i));
  return writes;
}

const std::byte* SampleBlock::slice(std::uint32_t index) const {
  return slices_.get() + index * layout_.slice_bytes;
}

std::vector<SampleBlock> SampleChain(std::uint32_t first, std::uint32_t count,
                                     const BlockLayout& layout) {
  std::vector<SampleBlock> chain;
  BlockId parent;
  for (std::uint32_t i = 0; i < count; ++i) {
    chain.emplace_back(first + i, layout, parent);
    parent = chain.back().id();
  }
  return chain;
}

BlockStore::Deadline Soon() { return std::chrono::steady_clock::now() + std::chrono::minutes(2); }

TaskResult Finish(BlockStore& store, Result<TaskId> task) {
  ESA_CHECK(task.ok());
  Result<TaskResult> result = store.Wait(*task, Soon());
  ESA_CHECK(result.ok());
  return *std::move(result);
}

TaskResult DumpAll(BlockStore& store, const SampleBlock& block) {
  const Result<bool> begun = store.Begin(block.key(), block.parent());
  ESA_CHECK(begun.ok());
  if (!*begun) return {};
  return Finish(store, store.Dump(block.Writes()));
}

bool Hit(BlockStore& store, const SampleBlock& block) {
  const BlockKey key = block.key();
  return store.Lookup({&key, 1}).at(0);
}

Status LoadPart(BlockStore& store, const SampleBlock& block, std::uint32_t part) {
  std::span<const std::byte> expected;
  if (part == kRepresentations) {
    expected = block.representations();
  } else if (part == kTokens) {
    expected = std::as_bytes(block.key().tokens);
  } else {
    expected = {block.slice(part), block.layout().slice_bytes};
  }
  const AlignedBuffer buffer = MakeAligned(expected.size() + 1);
  std::memset(buffer.get(), 0xee, expected.size() + 1);
  const TaskResult result = Finish(store, store.Load({{block.id(), part, buffer.get()}}));
  if (!result.failures.empty()) return result.failures[0].error;
  if (!std::ranges::equal(expected, std::span(buffer.get(), expected.size())) ||
      buffer[expected.size()] != std::byte{0xee}) {
    return DataError(kServedWrongBytes);
  }
  return {};
}

bool ServedWrongBytes(const Status& status) {
  return !status && status.error().message == kServedWrongBytes;
}

Status LoadAll(BlockStore& store, const SampleBlock& block) {
  for (std::uint32_t i = 0; i < block.layout().num_slices; ++i) {
    if (Status status = LoadPart(store, block, i); !status) return status;
  }
  return LoadPart(store, block, kRepresentations);
}

void OnTwoThreads(const std::function<void()>& work) {
  std::thread other(work);
  work();
  other.join();
}

Status LoadByCrew(BlockStore& store, const SampleBlock& block) {
  const std::uint64_t bytes = block.layout().slice_bytes;
  const std::uint32_t slices = block.layout().num_slices;
  const AlignedBuffer buffer = MakeAligned(slices * bytes);
  std::memset(buffer.get(), 0xee, slices * bytes);
  std::vector<SliceRead> reads;
  for (std::uint32_t i = 0; i < slices; ++i) {
    reads.push_back({block.id(), i, buffer.get() + i * bytes});
  }
  const TaskResult result = Finish(store, store.LoadWith(OnTwoThreads, reads));
  if (!result.failures.empty()) return result.failures[0].error;
  for (std::uint32_t i = 0; i < slices; ++i) {
    if (!std::equal(block.slice(i), block.slice(i) + bytes, buffer.get() + i * bytes)) {
      return DataError(kServedWrongBytes);
    }
  }
  return {};
}

Status LoadAllAndTokens(BlockStore& store, const SampleBlock& block) {
  if (Status status = LoadAll(store, block); !status) return status;
  if (Status status = LoadByCrew(store, block); !status) return status;
  return LoadPart(store, block, kTokens);
}

}  // namespace esa::testing
