// The fixture of the conformance tests, which run for every backend of BlockStoreNames() and for
// stacks of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "store/testing/store_fixture.h"

namespace esa::testing {

inline std::vector<std::string> ConformanceBackends() {
  std::vector<std::string> names = BlockStoreNames();
  names.insert(names.end(), {"memory|posix", "memory|memory", "memory|memory|posix"});
  return names;
}

// Of a parameterised test: letters and underscores only.
inline std::string ConformanceName(const ::testing::TestParamInfo<std::string>& row) {
  std::string name = row.param;
  std::ranges::replace(name, '|', '_');
  return name;
}

class StoreConformance : public ::testing::TestWithParam<std::string> {
 protected:
  StoreConfig Config() const {
    StoreConfig config;
    config.backend = GetParam();
    config.storage_backends = {folder_.path() + "/a"};
    return config;
  }

  static std::unique_ptr<BlockStore> Open(const StoreConfig& config,
                                          const BlockLayout& layout = kSmallLayout) {
    auto store = CreateBlockStore(config, layout);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return *std::move(store);
  }

  // Room for `blocks` small blocks and no further one, whatever a backend adds to their bytes; for
  // one in the upper tiers of a stack.
  StoreConfig ConfigOfBlocks(std::uint64_t blocks) const {
    const auto probe = Open(Config());
    const SampleBlock sample(999);
    DumpAll(*probe, sample);
    Settle(*probe);
    const std::uint64_t bytes = probe->Stats().bytes;
    EXPECT_TRUE(probe->Remove(sample.id()).ok());
    StoreConfig config = Config();
    config.capacity_bytes = blocks * bytes + bytes / 2;
    config.memory_bytes = bytes + bytes / 2;
    return config;
  }

  // What a store does behind its callers' backs has been done.
  static void Settle(BlockStore& store) {
    const Status flushed = store.Flush(Soon());
    EXPECT_TRUE(flushed.ok()) << flushed.error().message;
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace esa::testing
