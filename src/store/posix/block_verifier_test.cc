#include "store/posix/block_verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "store/posix/file_names.h"
#include "store/testing/faulty_files.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using ::testing::HasSubstr;

class VerifiedBlock : public ::testing::Test {
 protected:
  VerifiedBlock() {
    StoreConfig config;
    config.storage_backends = {folder_.path()};
    config.pack_below_bytes = 0;
    DumpAll(**CreateBlockStore(config, kSmallLayout), block_);
    path_ = BlockPath(folder_.path(), block_.id());
  }

  void Overwrite(std::uint64_t at, char byte) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }

  void Flip(std::uint64_t at) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }

  BlockVerdict Verify() { return BlockVerifier(*files_).Verify(path_, block_.id()); }

  const TemporaryFolder folder_;
  const SampleBlock block_{1};
  const BlockAreas areas_{kSmallLayout};
  std::string path_;
  std::unique_ptr<FileSystem> files_ = MakeRealFileSystem();
};

TEST_F(VerifiedBlock, Intact) {
  const BlockVerdict verdict = Verify();
  EXPECT_EQ(verdict.state, BlockState::kIntact) << verdict.what;
  EXPECT_EQ(verdict.what, "");
  EXPECT_EQ(verdict.read_bytes, areas_.file_bytes);
}

TEST_F(VerifiedBlock, EveryByteThatCountsIsChecked) {
  for (const std::uint64_t at :
       {std::uint64_t{0}, std::uint64_t{12}, std::uint64_t{kSliceBytesAt}, std::uint64_t{kIdAt},
        std::uint64_t{kParentAt}, std::uint64_t{kTokensAt}, areas_.sums, areas_.head_sum,
        areas_.representations, areas_.slices, areas_.file_bytes - 1}) {
    Flip(at);
    const BlockVerdict verdict = Verify();
    EXPECT_EQ(verdict.state, BlockState::kCorrupt) << at;
    EXPECT_NE(verdict.what, "") << at;
    EXPECT_EQ(verdict.what.find('\n'), std::string::npos) << verdict.what;
    Flip(at);
    ASSERT_EQ(Verify().state, BlockState::kIntact) << at;
  }
}

TEST_F(VerifiedBlock, SaysWhatIsWrong) {
  Flip(areas_.slices + 2 * kSmallLayout.slice_bytes);
  EXPECT_EQ(Verify().what, "checksum of slice 2 does not match");
  Flip(areas_.slices + 4 * kSmallLayout.slice_bytes);
  EXPECT_EQ(Verify().what, "checksums of 2 of 6 slices do not match, the first is 2");
  Flip(areas_.representations);
  EXPECT_EQ(Verify().what, "checksum of the representations does not match");
  Flip(kTokensAt);
  EXPECT_EQ(Verify().what, "checksum of the header does not match");
  std::filesystem::resize_file(path_, 8192);
  EXPECT_EQ(Verify().what,
            "the file has 8192 bytes, expected " + std::to_string(areas_.file_bytes));
  std::filesystem::resize_file(path_, 0);
  EXPECT_THAT(Verify().what, HasSubstr("ends at byte 0"));
}

TEST_F(VerifiedBlock, AnotherNameIsAnotherBlock) {
  const BlockId other = SampleBlock(2).id();
  const BlockVerdict verdict = BlockVerifier(*files_).Verify(path_, other);
  EXPECT_EQ(verdict.state, BlockState::kCorrupt);
  EXPECT_THAT(verdict.what, HasSubstr(block_.id().Hex()));
}

TEST_F(VerifiedBlock, OfAnotherVersionNothingIsSaid) {
  Overwrite(kVersionAt, 1);  // which has no checksum of its own in the fixed fields
  const BlockVerdict verdict = Verify();
  EXPECT_EQ(verdict.state, BlockState::kForeign);
  EXPECT_THAT(verdict.what, HasSubstr("version"));
}

TEST_F(VerifiedBlock, GoneIsNoFault) {
  std::filesystem::remove(path_);
  EXPECT_EQ(Verify().state, BlockState::kGone);
}

TEST_F(VerifiedBlock, ReadErrorsAreNotCorruption) {
  const auto faults = std::make_shared<Faults>();
  files_ = MakeFaultyFiles(faults);
  faults->FailOn(FileCall::kRead, 1, 0, IoError("the disk says no"));
  const BlockVerdict verdict = Verify();
  EXPECT_EQ(verdict.state, BlockState::kUnreadable);
  EXPECT_THAT(verdict.what, HasSubstr("the disk says no"));
}

TEST_F(VerifiedBlock, LooksTwice) {
  const auto faults = std::make_shared<Faults>();
  files_ = MakeFaultyFiles(faults);
  faults->FlipBit(1, areas_.slices + 5);
  EXPECT_EQ(Verify().state, BlockState::kIntact);
  faults->ShortTransfers(1000);
  EXPECT_EQ(Verify().state, BlockState::kIntact);
}

// Larger than what is read at once.
TEST(VerifiedLargeBlock, IsReadInPieces) {
  const TemporaryFolder folder;
  const BlockLayout layout{
      .block_tokens = 4, .num_slices = 5, .slice_bytes = 3u << 20, .representation_bytes = 40};
  const SampleBlock block(1, layout);
  StoreConfig config;
  config.storage_backends = {folder.path()};
  config.pack_below_bytes = 0;
  DumpAll(**CreateBlockStore(config, layout), block);
  const std::string path = BlockPath(folder.path(), block.id());
  const auto files = MakeRealFileSystem();
  BlockVerifier verifier(*files);
  EXPECT_EQ(verifier.Verify(path, block.id()).state, BlockState::kIntact);
  std::filesystem::resize_file(path, BlockAreas(layout).file_bytes - 4096);
  std::filesystem::resize_file(path, BlockAreas(layout).file_bytes);
  EXPECT_EQ(verifier.Verify(path, block.id()).what, "checksum of slice 4 does not match");
}

}  // namespace
}  // namespace esa::testing
