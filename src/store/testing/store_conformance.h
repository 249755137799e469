// The fixture of the conformance tests, which run for every backend of BlockStoreNames() and for
// stacks of them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/testing/redis_server.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {

inline std::vector<std::string> ConformanceBackends() {
  std::vector<std::string> names = BlockStoreNames();
  names.insert(names.end(),
               {"memory|posix", "memory|memory", "memory|memory|posix", "memory|redis"});
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
  void SetUp() override {
    if (!NeedsRedis()) return;
    if (!RedisServer::Installed()) GTEST_SKIP() << "there is no redis-server on the PATH";
    redis_.emplace();
  }

  StoreConfig Config() const {
    StoreConfig config;
    config.backend = GetParam();
    config.storage_backends = {folder_.path() + "/a"};
    if (redis_) config.redis_url = redis_->url();
    return config;
  }

  static std::unique_ptr<BlockStore> Open(const StoreConfig& config,
                                          const BlockLayout& layout = kSmallLayout) {
    auto store = CreateBlockStore(config, layout);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return *std::move(store);
  }

  // A backend bounds itself, or refuses capacity_bytes (CreateBlockStore: kUnsupported) because
  // another does: of a Redis server, its own maxmemory.
  bool BoundsItself() const { return !NeedsRedis(); }

  void ExpectCapacityRefused() const {
    StoreConfig config = Config();
    config.capacity_bytes = 1u << 30;
    const auto store = CreateBlockStore(config, kSmallLayout);
    ASSERT_FALSE(store.ok());
    EXPECT_EQ(store.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(store.error().message, ::testing::HasSubstr("maxmemory"));
  }

  // Room for `blocks` small blocks and no further one, whatever a backend adds to their bytes; for
  // one in the upper tiers of a stack. What does not bound itself is bounded there alone.
  StoreConfig ConfigOfBlocks(std::uint64_t blocks) const {
    const auto probe = Open(Config());
    const SampleBlock sample(999);
    DumpAll(*probe, sample);
    Settle(*probe);
    const std::uint64_t bytes = probe->Stats().bytes;
    EXPECT_TRUE(probe->Remove(sample.id()).ok());
    StoreConfig config = Config();
    if (BoundsItself()) config.capacity_bytes = blocks * bytes + bytes / 2;
    config.memory_bytes = bytes + bytes / 2;
    return config;
  }

  // What a store does behind its callers' backs has been done.
  static void Settle(BlockStore& store) {
    const Status flushed = store.Flush(Soon());
    EXPECT_TRUE(flushed.ok()) << flushed.error().message;
  }

 private:
  bool NeedsRedis() const { return GetParam().find("redis") != std::string::npos; }

  TemporaryFolder folder_;
  std::optional<RedisServer> redis_;
};

}  // namespace esa::testing
