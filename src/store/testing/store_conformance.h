// The fixture of the conformance tests, which run for every backend of BlockStoreNames().
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "store/testing/redis_server.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {

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
  bool BoundsItself() const { return GetParam() != "redis"; }

  void ExpectCapacityRefused() const {
    StoreConfig config = Config();
    config.capacity_bytes = 1u << 30;
    const auto store = CreateBlockStore(config, kSmallLayout);
    ASSERT_FALSE(store.ok());
    EXPECT_EQ(store.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(store.error().message, ::testing::HasSubstr("maxmemory"));
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
  bool NeedsRedis() const { return GetParam().find("redis") != std::string::npos; }

  TemporaryFolder folder_;
  std::optional<RedisServer> redis_;
};

}  // namespace esa::testing
