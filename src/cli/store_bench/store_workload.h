// What `esa store bench` does with the posix store itself, and what it costs.
//
// Threading: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "esa/result.h"

namespace esa::cli {

struct WorkloadConfig {
  std::string folder;  // of the bench's own; its blocks are removed
  BlockLayout layout;
  std::uint32_t blocks = 0;
  StoreConfig store;
};

// One pass over some bytes.
struct Pass {
  std::uint64_t bytes = 0;
  double seconds = 0;
  double cpu_seconds = 0;  // of this process, kernel included

  double gbps() const { return static_cast<double>(bytes) / seconds / 1e9; }
  double cpu_per_gb() const { return cpu_seconds / (static_cast<double>(bytes) / 1e9); }
};

struct Unmap {
  std::size_t bytes = 0;
  void operator()(std::byte* data) const;
};
using MappedBytes = std::unique_ptr<std::byte[], Unmap>;

class StoreWorkload {
 public:
  static Result<std::unique_ptr<StoreWorkload>> Open(const WorkloadConfig& config);
  ~StoreWorkload();

  // Dumps all blocks anew, a task each; what an earlier pass left is removed first, untimed.
  Result<Pass> Dump();

  // Loads all slices of all blocks, looked up before, a task for each block; compares one slice of
  // each.
  Result<Pass> Load();

  // The same without checksums.
  Result<Pass> LoadUnverified();

  // One task of `count` random slices of 100 random blocks, many times; the seconds of each go to
  // `latencies`.
  Result<Pass> LoadSelections(std::uint32_t count, std::uint32_t times,
                              std::vector<double>* latencies);

  // Seconds of one Lookup of all blocks, the heads at hand.
  Result<double> WarmLookup();

 private:
  struct Block {
    BlockId id;
    std::vector<std::int32_t> tokens;
  };

  explicit StoreWorkload(const WorkloadConfig& config) : config_(config) {}
  Status OpenStore(bool verify, std::unique_ptr<BlockStore>* store);
  std::uint64_t block_bytes() const {
    return config_.layout.num_slices * config_.layout.slice_bytes;
  }
  std::byte* Source(std::uint32_t block, std::uint32_t slice);
  Status LookUp(BlockStore& store) const;
  Result<Pass> LoadFrom(BlockStore& store);

  const WorkloadConfig config_;
  std::vector<Block> blocks_;
  std::uint32_t window_ = 0;  // blocks whose tasks are under way together
  MappedBytes source_;        // [window, block]
  MappedBytes destination_;   // [window, block]
  std::vector<std::byte> representation_;
  std::mt19937_64 random_{1};
  std::unique_ptr<BlockStore> store_;
};

}  // namespace esa::cli
