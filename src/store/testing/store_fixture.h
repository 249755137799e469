// What the tests of block stores share: a small layout, blocks whose bytes follow from a seed, a
// temporary folder, and the verbs of a store as one call each. Not thread-safe, except where said.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "store/posix/file_system.h"

namespace esa::testing {

// A folder of its own, 0700, removed with all it holds at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline constexpr BlockLayout kSmallLayout{
    .block_tokens = 4, .num_slices = 6, .slice_bytes = 4096, .representation_bytes = 40};

// Paths of all files of a store's folder, those that share others by their own names.
std::vector<std::string> StoredPaths(FileSystem& files, const std::string& folder);

struct AlignedDelete {
  void operator()(std::byte* bytes) const;
};
using AlignedBuffer = std::unique_ptr<std::byte[], AlignedDelete>;
AlignedBuffer MakeAligned(std::size_t bytes);  // 4096-aligned, as slots of a slice pool are

// A block made of `seed`: other seed, other id, tokens and bytes.
class SampleBlock {
 public:
  explicit SampleBlock(std::uint32_t seed, const BlockLayout& layout = kSmallLayout,
                       const BlockId& parent = {});

  const BlockId& id() const { return id_; }
  const BlockId& parent() const { return parent_; }
  BlockKey key() const { return {id_, tokens_}; }
  const BlockLayout& layout() const { return layout_; }
  SliceWrite Write(std::uint32_t slice) const;
  std::vector<SliceWrite> Writes() const;  // of all slices
  const std::byte* slice(std::uint32_t index) const;
  const std::vector<std::byte>& representations() const { return representations_; }

 private:
  BlockLayout layout_;
  BlockId id_;
  BlockId parent_;
  std::vector<std::int32_t> tokens_;
  AlignedBuffer slices_;  // [num_slices, slice_bytes]
  std::vector<std::byte> representations_;
};

// Samples of seeds first..first+count-1, each the parent of the next.
std::vector<SampleBlock> SampleChain(std::uint32_t first, std::uint32_t count,
                                     const BlockLayout& layout = kSmallLayout);

BlockStore::Deadline Soon();  // a deadline no test reaches unless something hangs

void OnTwoThreads(const std::function<void()>& work);  // a Crew

// Thread-safe, as the store is.
TaskResult Finish(BlockStore& store, Result<TaskId> task);
TaskResult DumpAll(BlockStore& store, const SampleBlock& block);  // Begin, if it is to, and Dump
bool Hit(BlockStore& store, const SampleBlock& block);

// Loads one part and compares it: success, the error of the load, or kDataError, "served wrong
// bytes".
Status LoadPart(BlockStore& store, const SampleBlock& block, std::uint32_t part);
Status LoadAll(BlockStore& store, const SampleBlock& block);           // the first part that fails
Status LoadByCrew(BlockStore& store, const SampleBlock& block);        // all slices, by LoadWith
Status LoadAllAndTokens(BlockStore& store, const SampleBlock& block);  // each, and by a crew
bool ServedWrongBytes(const Status& status);                           // of those above

}  // namespace esa::testing
