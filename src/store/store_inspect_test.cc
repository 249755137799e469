#include "store/store_inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "store/posix/file_names.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

TEST(InspectFolder, CountsWhatLiesThere) {
  const TemporaryFolder folder;
  StoreConfig config;
  config.storage_backends = {folder.path()};
  BlockLayout other = kSmallLayout;
  other.num_slices = 2;
  const SampleBlock corrupt(50), open(51);
  DumpAll(**CreateBlockStore(config, other), SampleBlock(1, other));
  const auto store = *CreateBlockStore(config, kSmallLayout);
  for (std::uint32_t seed = 10; seed < 13; ++seed) DumpAll(*store, SampleBlock(seed));
  DumpAll(*store, corrupt);
  std::filesystem::resize_file(BlockPath(folder.path(), corrupt.id()), 150);
  const Result<StoreSummary> before = InspectFolder(folder.path());
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(before->blocks, 5u);
  EXPECT_EQ(before->unreadable, 0u);  // its fixed fields are still there
  EXPECT_FALSE(Hit(*store, corrupt));
  ASSERT_TRUE(*store->Begin(open.key(), {}));
  Finish(*store, store->Dump({open.Write(0)}));

  const Result<StoreSummary> summary = InspectFolder(folder.path());
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->blocks, 4u);
  EXPECT_EQ(summary->bytes, 3u * 32768 + 16384);
  EXPECT_EQ(summary->temporaries, 1u);
  EXPECT_EQ(summary->quarantined, 1u);
  ASSERT_EQ(summary->layouts.size(), 2u);
  EXPECT_EQ(summary->layouts[0].layout, kSmallLayout);
  EXPECT_EQ(summary->layouts[0].blocks, 3u);
  EXPECT_EQ(summary->layouts[1].layout, other);
  EXPECT_GT(summary->oldest_use_us, 0);
  EXPECT_LT(summary->oldest_use_us, summary->newest_use_us);
}

TEST(InspectFolder, SaysWhatIsNoFolder) {
  const auto summary = InspectFolder("/nonexistent/esa");
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(summary.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(summary.error().message, ::testing::HasSubstr("/nonexistent/esa"));
}

}  // namespace
}  // namespace esa::testing
