#include "store/store_inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "store/posix/file_names.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<BlockStore> OpenStore(const TemporaryFolder& folder,
                                      const BlockLayout& layout = kSmallLayout) {
  StoreConfig config;
  config.storage_backends = {folder.path()};
  config.pack_below_bytes = 0;
  return *CreateBlockStore(config, layout);
}

BlockLayout OtherLayout() {
  BlockLayout layout = kSmallLayout;
  layout.num_slices = 2;
  return layout;
}

TEST(InspectFolder, CountsWhatLiesThere) {
  const TemporaryFolder folder;
  const BlockLayout other = OtherLayout();
  const SampleBlock corrupt(50), open(51);
  DumpAll(*OpenStore(folder, other), SampleBlock(1, other));
  const auto store = OpenStore(folder);
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
  std::ofstream(TemporaryPath(folder.path(), SampleBlock(10).id(), "1-dead", 1)) << "abc";

  const Result<StoreSummary> summary = InspectFolder(folder.path());
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->blocks, 4u);
  EXPECT_EQ(summary->bytes, 3u * 32768 + 16384);
  EXPECT_EQ(summary->open.count, 1u);
  EXPECT_EQ(summary->open.bytes, 32768u);
  EXPECT_EQ(summary->leftovers.count, 1u);
  EXPECT_EQ(summary->leftovers.bytes, 3u);
  EXPECT_EQ(summary->quarantined.count, 1u);
  EXPECT_EQ(summary->quarantined.bytes, 150u);
  ASSERT_EQ(summary->layouts.size(), 2u);
  EXPECT_EQ(summary->layouts[0].layout, kSmallLayout);
  EXPECT_EQ(summary->layouts[0].blocks, 3u);
  EXPECT_EQ(summary->layouts[0].bytes, 3u * 32768);
  EXPECT_EQ(summary->layouts[1].layout, other);
  EXPECT_GT(summary->oldest_use_us, 0);
  EXPECT_LT(summary->oldest_use_us, summary->newest_use_us);
  EXPECT_GT(summary->filesystem_bytes, summary->filesystem_free_bytes);
}

TEST(ListBlocks, MostRecentFirstOverAllFolders) {
  const TemporaryFolder one, two;
  const std::vector<SampleBlock> chain = SampleChain(1, 3);
  const BlockLayout other = OtherLayout();
  const SampleBlock apart(7, other);
  const auto store = OpenStore(one);
  for (const SampleBlock& block : chain) DumpAll(*store, block);
  DumpAll(*OpenStore(two, other), apart);
  const std::vector<std::string> folders = {one.path(), two.path()};

  const Result<BlockList> list = ListBlocks(folders, {});
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->blocks.size(), 4u);
  EXPECT_EQ(list->blocks[0].id, apart.id());
  EXPECT_EQ(list->blocks[0].folder, two.path());
  EXPECT_EQ(list->blocks[0].layout, other);
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const BlockInfo& block = list->blocks[i + 1];
    EXPECT_EQ(block.id, chain[i].id());
    EXPECT_EQ(block.parent, chain[i].parent());
    EXPECT_EQ(block.folder, one.path());
    EXPECT_EQ(block.bytes, 32768u);
    EXPECT_EQ(block.unreadable, "");
    EXPECT_LT(block.used_us, list->blocks[i].used_us);
  }
  const Result<BlockList> limited = ListBlocks(folders, {.limit = 2});
  ASSERT_TRUE(limited.ok());
  ASSERT_EQ(limited->blocks.size(), 2u);
  EXPECT_EQ(limited->blocks[1].id, chain[0].id());
  EXPECT_EQ(limited->total, 4u);
}

TEST(ListBlocks, SaysWhyAHeaderIsNotKnown) {
  const TemporaryFolder folder;
  const SampleBlock block(1);
  DumpAll(*OpenStore(folder), block);
  std::ofstream(BlockPath(folder.path(), block.id())) << std::string(4096, 'x');
  const std::vector<std::string> folders = {folder.path()};
  const Result<BlockList> list = ListBlocks(folders, {});
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->blocks.size(), 1u);
  EXPECT_THAT(list->blocks[0].unreadable, HasSubstr("magic"));
  EXPECT_EQ(ListBlocks(folders, {.headers = false})->blocks[0].unreadable, "");
}

TEST(InspectFolder, SaysWhatIsNoStore) {
  const auto error = [](const std::string& path) {
    const auto summary = InspectFolder(path);
    return summary.ok() ? Error{} : summary.error();
  };
  EXPECT_EQ(error("/nonexistent/esa").code, ErrorCode::kNotFound);
  EXPECT_THAT(error("/nonexistent/esa").message, HasSubstr("/nonexistent/esa"));
  const TemporaryFolder folder;
  EXPECT_THAT(error(folder.path()).message,
              HasSubstr(folder.path() + ": not a folder of a block store"));
  const std::string file = folder.path() + "/lock";
  std::ofstream(file) << "";
  EXPECT_EQ(error(folder.path()).code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error(file).message, HasSubstr("expected a folder, found a file"));
}

}  // namespace
}  // namespace esa::testing
