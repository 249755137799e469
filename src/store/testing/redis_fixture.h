// The fixture of the tests of the redis store: a server of their own, and what they ask of it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "store/testing/redis_server.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {

class RedisStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Installed()) GTEST_SKIP() << "there is no redis-server on the PATH";
    StartServer({});
  }

  void StartServer(std::vector<std::string> options) {
    server_ = std::make_unique<RedisServer>(std::move(options));
    config_.backend = "redis";
    config_.redis_url = server_->url();
    config_.timeout_ms = 20000;
  }

  std::unique_ptr<BlockStore> Open(const BlockLayout& layout = kSmallLayout) const {
    auto store = CreateBlockStore(config_, layout);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return *std::move(store);
  }

  std::string Refusal() const {
    const auto store = CreateBlockStore(config_, kSmallLayout);
    return store.ok() ? "accepted" : store.error().message;
  }

  // The key of the one block that is stored.
  std::string OnlyKey() {
    const auto keys = server_->Keys("esa:b:*");
    EXPECT_THAT(keys, ::testing::SizeIs(1));
    return keys.empty() ? "" : keys[0];
  }

  // Loads until one succeeds: the pause after a failure must pass.
  static bool LoadsSoon(BlockStore& store, const SampleBlock& block) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < deadline) {
      if (LoadAll(store, block).ok()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  static bool DumpsSoon(BlockStore& store, const SampleBlock& block) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < deadline) {
      const Result<bool> begun = store.Begin(block.key(), {});
      if (begun.ok()) return Finish(store, store.Dump(block.Writes())).failures.empty();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  std::unique_ptr<RedisServer> server_;
  StoreConfig config_;
};

inline bool FailsWith(const Status& status, ErrorCode code) {
  return !status.ok() && status.error().code == code;
}

inline std::chrono::milliseconds Since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               start);
}

}  // namespace esa::testing
