// The fixture of the conformance tests, which run for every backend of BlockStoreNames().
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "store/testing/store_fixture.h"

namespace esa::testing {

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

  // Room for `blocks` small blocks and no further one, whatever a backend adds to their bytes.
  StoreConfig ConfigOfBlocks(std::uint64_t blocks) const {
    const auto probe = Open(Config());
    const SampleBlock sample(999);
    DumpAll(*probe, sample);
    const std::uint64_t bytes = probe->Stats().bytes;
    EXPECT_TRUE(probe->Remove(sample.id()).ok());
    StoreConfig config = Config();
    config.capacity_bytes = blocks * bytes + bytes / 2;
    return config;
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace esa::testing
