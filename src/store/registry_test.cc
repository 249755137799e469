#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using ::testing::HasSubstr;

TEST(StoreRegistry, NamesAreSorted) {
  const std::vector<std::string> names = BlockStoreNames();
  EXPECT_TRUE(std::ranges::is_sorted(names));
  EXPECT_TRUE(std::ranges::count(names, "memory") == 1);
}

TEST(StoreRegistry, AnUnknownNameIsAnErrorThatNamesTheOthers) {
  StoreConfig config;
  config.backend = "tape";
  const auto store = CreateBlockStore(config, kSmallLayout);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(store.error().message, HasSubstr("\"tape\""));
  EXPECT_THAT(store.error().message, HasSubstr("memory"));
}

TEST(StoreRegistry, RefusesLayoutsThatAreNone) {
  StoreConfig config;
  config.backend = "memory";
  BlockLayout layout = kSmallLayout;
  layout.slice_bytes = 5000;
  const auto store = CreateBlockStore(config, layout);
  ASSERT_FALSE(store.ok());
  EXPECT_THAT(store.error().message, HasSubstr("slice_bytes is 5000"));
  EXPECT_FALSE(CreateBlockStore(config, {}).ok());
}

TEST(StoreRegistry, ANameIsTakenOnce) {
  EXPECT_EQ(
      RegisterBlockStore("memory",
                         [](const auto&, const auto&) {
                           return Result<std::unique_ptr<BlockStore>>(Unsupported("never called"));
                         })
          .error()
          .code,
      ErrorCode::kInvalidArgument);
  EXPECT_FALSE(RegisterBlockStore("empty", nullptr).ok());
}

}  // namespace
}  // namespace esa::testing
