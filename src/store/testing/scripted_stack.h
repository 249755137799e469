// The fixture of the tests of stacks: memory above a scripted store in memory.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <utility>

#include "base/check.h"
#include "store/stacked_store.h"
#include "store/testing/scripted_store.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {

inline constexpr std::uint64_t kSliceSum = 6 * 4096;            // of a small block
inline constexpr std::uint64_t kBlockSum = kSliceSum + 6 * 40;  // with representations

class ScriptedStack : public ::testing::Test {
 protected:
  // capacity_bytes 0: not bounded.
  static std::unique_ptr<BlockStore> Memory(std::uint64_t capacity_bytes = 0) {
    StoreConfig config;
    config.backend = "memory";
    config.capacity_bytes = capacity_bytes;
    auto store = CreateBlockStore(config, kSmallLayout);
    ESA_CHECK(store.ok());
    return *std::move(store);
  }

  std::unique_ptr<BlockStore> Stack(std::unique_ptr<BlockStore> upper,
                                    std::unique_ptr<BlockStore> lower,
                                    const StackOptions& options = {}) {
    return MakeStackedStore(std::move(upper), MakeScriptedStore(script_, std::move(lower)),
                            options);
  }

  // Over a lower tier that holds these blocks already.
  std::unique_ptr<BlockStore> StackOver(std::initializer_list<const SampleBlock*> blocks,
                                        std::uint64_t upper_bytes = 0) {
    auto lower = Memory();
    for (const SampleBlock* block : blocks) DumpAll(*lower, *block);
    return Stack(Memory(upper_bytes), std::move(lower));
  }

  static BlockStore::Deadline Shortly() {
    return std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  }

  static ErrorCode CodeOf(const auto& result) {
    ESA_CHECK(!result.ok());
    return result.error().code;
  }

  const std::shared_ptr<Script> script_ = std::make_shared<Script>();
};

// The slices of a block on their way into a buffer.
struct PendingLoad {
  explicit PendingLoad(const SampleBlock& block) : buffer(MakeAligned(kSliceSum)) {
    for (std::uint32_t i = 0; i < 6; ++i) reads.push_back({block.id(), i, buffer.get() + i * 4096});
  }
  bool Holds(const SampleBlock& block) const {
    return std::equal(buffer.get(), buffer.get() + kSliceSum, block.slice(0));
  }
  AlignedBuffer buffer;
  std::vector<SliceRead> reads;
};

}  // namespace esa::testing
