// What a folder promises beyond the store on it: uses and pins on disk, one capacity for all.
#include "store/posix/folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "store/posix/file_names.h"
#include "store/testing/forwarding_files.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint64_t kBytes = 4096;  // of every block here

BlockId IdOf(std::uint8_t number) {
  BlockId id;
  id.bytes.fill(number);
  return id;
}

// The real file system, under a server whose clock is ahead; notes whose time was set.
class ServerFiles final : public ForwardingFiles {
 public:
  Result<PathInfo> Stat(const std::string& path) override {
    auto info = ForwardingFiles::Stat(path);
    if (info.ok() && path.ends_with(".owner")) info->modified_us += ahead_us;
    return info;
  }
  Status SetModified(const std::string& path, std::int64_t modified_us) override {
    marked.push_back(path);
    return ForwardingFiles::SetModified(path, modified_us);
  }

  std::int64_t ahead_us = 0;
  std::vector<std::string> marked;
};

class FolderTest : public ::testing::Test {
 protected:
  Folder::Options Options(std::uint64_t capacity_blocks = 0) {
    return {.path = path(),
            .capacity_bytes = capacity_blocks * kBytes,
            .on_gone = [this](const BlockId& id) { gone_.push_back(id); }};
  }
  std::unique_ptr<Folder> Open(std::uint64_t capacity_blocks = 0) {
    return Open(Options(capacity_blocks));
  }
  std::unique_ptr<Folder> Open(const Folder::Options& options) {
    auto folder = Folder::Open(files_, options);
    EXPECT_TRUE(folder.ok()) << (folder.ok() ? "" : folder.error().message);
    return *std::move(folder);
  }
  std::string Refusal(const Folder::Options& options) {
    const auto folder = Folder::Open(files_, options);
    return folder.ok() ? "accepted" : folder.error().message;
  }

  // Commits a block of one page.
  static Status Put(FileSystem& files, Folder& folder, const BlockId& id, std::int64_t stamp_us) {
    if (Status room = folder.Reserve(kBytes); !room) return room;
    (void)folder.MakeFanOut(id);
    const std::string temporary = folder.NewTemporaryPath(id);
    {
      auto file = files.Open(temporary, {.mode = OpenMode::kCreate});
      if (!file) return file.error();
      if (Status sized = (*file)->Allocate(kBytes); !sized) return sized;
    }
    return folder.Commit(temporary, id, {kBytes, stamp_us});
  }
  Status Put(Folder& folder, std::uint8_t number, std::int64_t stamp_us) {
    return Put(files_, folder, IdOf(number), stamp_us);
  }

  bool OnDisk(std::uint8_t number) const { return fs::exists(BlockPath(path(), IdOf(number))); }
  std::size_t BlocksOnDisk() const {
    std::size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path())) {
      count += entry.path().extension() == ".block" ? 1 : 0;
    }
    return count;
  }
  std::int64_t TimeOf(std::uint8_t number) {
    return files_.ForwardingFiles::Stat(BlockPath(path(), IdOf(number)))->modified_us;
  }
  static StoreStats StatsOf(const Folder& folder) {
    StoreStats stats;
    folder.AddTo(&stats);
    return stats;
  }

  std::string path() const { return temporary_.path() + "/folder"; }

  TemporaryFolder temporary_;
  ServerFiles files_;
  std::vector<BlockId> gone_;
};

TEST_F(FolderTest, WritesUsesDownWithTheNextFlush) {
  const auto folder = Open();
  ASSERT_TRUE(Put(*folder, 1, 1000).ok());
  files_.marked.clear();
  folder->Use(IdOf(1), {kBytes, 2000});
  folder->Use(IdOf(1), {kBytes, 3000});
  EXPECT_EQ(folder->StampOf(IdOf(1)), 3000);
  EXPECT_EQ(TimeOf(1), 1000);
  folder->Flush();
  EXPECT_EQ(TimeOf(1), 3000);
  folder->Flush();
  EXPECT_EQ(files_.marked.size(), 1u);
}

TEST_F(FolderTest, WritesParentsDownFirst) {
  const auto folder = Open();
  for (std::uint8_t i : {1, 2, 3}) ASSERT_TRUE(Put(*folder, i, 1000 - i).ok());
  files_.marked.clear();
  folder->Use(IdOf(3), {kBytes, 2001});
  folder->Use(IdOf(1), {kBytes, 2003});
  folder->Use(IdOf(2), {kBytes, 2002});
  folder->Flush();
  EXPECT_THAT(files_.marked, ElementsAre(folder->PathOf(IdOf(1)), folder->PathOf(IdOf(2)),
                                         folder->PathOf(IdOf(3))));
}

TEST_F(FolderTest, WritesUsesDownWhenItCloses) {
  {
    const auto folder = Open();
    ASSERT_TRUE(Put(*folder, 1, 1000).ok());
    folder->Use(IdOf(1), {kBytes, 2000});
  }
  EXPECT_EQ(TimeOf(1), 2000);
}

TEST_F(FolderTest, ForgetsAUsedBlockWhoseFileIsGone) {
  const auto folder = Open();
  ASSERT_TRUE(Put(*folder, 1, 1000).ok());
  fs::remove(folder->PathOf(IdOf(1)));
  folder->Use(IdOf(1), {kBytes, 2000});
  EXPECT_EQ(StatsOf(*folder).blocks, 1u);
  gone_.clear();
  folder->Flush();
  EXPECT_EQ(StatsOf(*folder).blocks, 0u);
  EXPECT_THAT(gone_, ElementsAre(IdOf(1)));
}

TEST_F(FolderTest, EvictsByUsesOfThisStoreBeforeTheyAreWrittenDown) {
  const auto folder = Open(3);
  for (std::uint8_t i : {1, 2, 3}) ASSERT_TRUE(Put(*folder, i, 1000 + i).ok());
  folder->Use(IdOf(1), {kBytes, 2000});
  ASSERT_TRUE(Put(*folder, 4, 3000).ok());
  EXPECT_TRUE(OnDisk(1));
  EXPECT_FALSE(OnDisk(2));
}

TEST_F(FolderTest, KeepsWhatAnotherStoreHasUsed) {
  const auto one = Open(2), other = Open(2);
  ASSERT_TRUE(Put(*one, 1, 1000).ok());
  ASSERT_TRUE(Put(*one, 2, 1001).ok());
  other->Use(IdOf(1), {kBytes, 2000});
  other->Flush();
  ASSERT_TRUE(Put(*one, 3, 3000).ok());
  EXPECT_TRUE(OnDisk(1));
  EXPECT_FALSE(OnDisk(2));
}

TEST_F(FolderTest, EvictsOnceForOneShortage) {
  const auto one = Open(4), other = Open(4);
  for (std::uint8_t i : {1, 2, 3, 4}) ASSERT_TRUE(Put(*one, i, 1000 + i).ok());
  ASSERT_TRUE(Put(*other, 5, 2000).ok());
  ASSERT_TRUE(Put(*one, 6, 2001).ok());
  EXPECT_EQ(BlocksOnDisk(), 4u);
  EXPECT_EQ(StatsOf(*one).evicted_blocks + StatsOf(*other).evicted_blocks, 2u);
  for (std::uint8_t i : {3, 4, 5, 6}) EXPECT_TRUE(OnDisk(i)) << int{i};
}

TEST_F(FolderTest, CountsABlockThatIsReplacedOnce) {
  const auto folder = Open(4);
  for (int round = 0; round < 10; ++round) ASSERT_TRUE(Put(*folder, 1, 1000).ok());
  for (std::uint8_t i : {2, 3, 4}) ASSERT_TRUE(Put(*folder, i, 1000 + i).ok());
  EXPECT_EQ(BlocksOnDisk(), 4u);
}

TEST_F(FolderTest, GivesBackWhatIsReleasedRemovedOrQuarantined) {
  const auto folder = Open(4);
  for (int round = 0; round < 10; ++round) {
    ASSERT_TRUE(folder->Reserve(3 * kBytes).ok());
    folder->Release(3 * kBytes);
    ASSERT_TRUE(Put(*folder, 1, 1000).ok());
    ASSERT_TRUE(folder->Remove(IdOf(1)).ok());
    ASSERT_TRUE(Put(*folder, 1, 1000).ok());
    ASSERT_TRUE(folder->Quarantine(IdOf(1)));
  }
  for (std::uint8_t i : {2, 3, 4, 5}) ASSERT_TRUE(Put(*folder, i, 1000 + i).ok());
  EXPECT_EQ(StatsOf(*folder).evicted_blocks, 0u);
  EXPECT_EQ(folder->Reserve(5 * kBytes).error().code, ErrorCode::kResourceExhausted);
}

TEST_F(FolderTest, ADamagedLedgerIsMadeAnew) {
  const auto folder = Open(4);
  for (std::uint8_t i : {1, 2, 3, 4}) ASSERT_TRUE(Put(*folder, i, 1000 + i).ok());
  std::uint8_t next = 5;
  for (const char* bytes : {"", "short", "forty-eight bytes that are no ledger at all, ...."}) {
    std::ofstream(LedgerPath(path()), std::ios::trunc) << bytes;
    for (int i = 0; i < 2; ++i, ++next) ASSERT_TRUE(Put(*folder, next, 1000 + next).ok());
    EXPECT_EQ(BlocksOnDisk(), 4u) << bytes;
  }
}

TEST_F(FolderTest, NoticesFilesThatWereTakenAway) {
  const auto folder = Open(32);
  for (std::uint8_t i = 0; i < 32; ++i) ASSERT_TRUE(Put(*folder, i, 1000 + i).ok());
  for (std::uint8_t i = 0; i < 16; ++i) fs::remove(folder->PathOf(IdOf(i)));
  for (std::uint8_t i = 32; i < 64; ++i) ASSERT_TRUE(Put(*folder, i, 1000 + i).ok());
  EXPECT_EQ(BlocksOnDisk(), 32u);
}

TEST_F(FolderTest, LearnsWhatOthersWroteAndEvictsIt) {
  const auto one = Open(32);
  {
    const auto other = Open(32);
    for (std::uint8_t i = 0; i < 32; ++i) ASSERT_TRUE(Put(*other, i, 1000 + i).ok());
  }
  ASSERT_TRUE(Put(*one, 40, 2000).ok());
  EXPECT_FALSE(OnDisk(0));
  EXPECT_EQ(BlocksOnDisk(), 32u);
}

TEST_F(FolderTest, RespectsPinsOfAnotherStore) {
  const auto one = Open(2);
  auto other = Open(2);
  ASSERT_TRUE(Put(*one, 1, 1000).ok());
  ASSERT_TRUE(Put(*one, 2, 1001).ok());
  other->Pin(IdOf(1));
  other->Flush();
  ASSERT_TRUE(Put(*one, 3, 2000).ok());
  EXPECT_TRUE(OnDisk(1));
  EXPECT_FALSE(OnDisk(2));
  other->Pin(IdOf(3));
  other->Flush();
  const Status refused = one->Reserve(kBytes);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("all else is pinned or being written"));
  other->Unpin(IdOf(1));
  other->Flush();
  ASSERT_TRUE(Put(*one, 4, 3000).ok());
  EXPECT_FALSE(OnDisk(1));
  other.reset();  // and with it its pin of 3
  ASSERT_TRUE(Put(*one, 5, 4000).ok());
  EXPECT_FALSE(OnDisk(3));
  EXPECT_TRUE(OnDisk(4));
}

TEST_F(FolderTest, OpensOverItsCapacityWhenOthersPinned) {
  const auto large = Open(4);
  for (std::uint8_t i : {1, 2, 3, 4}) {
    ASSERT_TRUE(Put(*large, i, 1000 + i).ok());
    large->Pin(IdOf(i));
  }
  large->Flush();
  const auto small = Open(2);
  EXPECT_EQ(BlocksOnDisk(), 4u);
  EXPECT_FALSE(small->Reserve(kBytes).ok());
}

TEST_F(FolderTest, KeepsTimesByTheClockOfTheServer) {
  files_.ahead_us = 3'600'000'000;
  {
    const auto folder = Open();
    ASSERT_TRUE(Put(*folder, 1, 5'000'000'000).ok());
    EXPECT_NEAR(TimeOf(1), 8'600'000'000, 1'000'000);
    folder->Use(IdOf(1), {kBytes, 6'000'000'000});
    folder->Flush();
    EXPECT_NEAR(TimeOf(1), 9'600'000'000, 1'000'000);
  }
  EXPECT_NEAR(*Open()->StampOf(IdOf(1)), 6'000'000'000, 1'000'000);
}

TEST_F(FolderTest, TheQuarantineIsBoundedInBytes) {
  const auto folder = Open();
  for (std::uint8_t i : {1, 2, 3}) {
    ASSERT_TRUE(Put(*folder, i, 1000 + i).ok());
    fs::resize_file(folder->PathOf(IdOf(i)), kMaxQuarantinedBytes / 2);
    EXPECT_TRUE(folder->Quarantine(IdOf(i)));
  }
  EXPECT_FALSE(fs::exists(QuarantinePath(path(), IdOf(1))));
  EXPECT_TRUE(fs::exists(QuarantinePath(path(), IdOf(2))));
  EXPECT_TRUE(fs::exists(QuarantinePath(path(), IdOf(3))));
  ASSERT_TRUE(Put(*folder, 4, 2000).ok());
  fs::resize_file(folder->PathOf(IdOf(4)), kMaxQuarantinedBytes + 1);
  EXPECT_TRUE(folder->Quarantine(IdOf(4)));
  EXPECT_EQ(BlocksOnDisk(), 2u);
}

TEST_F(FolderTest, RemovesTheFilesOfTheDeadAndCountsThem) {
  { const auto folder = Open(4); }
  const std::string dead = "123-0123456789abcdef";
  fs::create_directory(path() + "/01");
  std::ofstream(TemporaryPath(path(), IdOf(1), dead, 7)) << "leftover";
  std::ofstream(OwnerPath(path(), dead));
  std::ofstream(PinsPath(path(), dead)) << "pins";
  const auto folder = Open(4);
  EXPECT_EQ(StatsOf(*folder).removed_leftovers, 1u);
  EXPECT_TRUE(fs::is_empty(path() + "/01"));
  EXPECT_FALSE(fs::exists(OwnerPath(path(), dead)));
  EXPECT_FALSE(fs::exists(PinsPath(path(), dead)));
}

TEST_F(FolderTest, RefusesAFolderOfAnotherUser) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may give a folder away";
  fs::create_directory(path());
  ASSERT_EQ(chmod(path().c_str(), 0700), 0);
  ASSERT_EQ(chown(path().c_str(), 12345, 12345), 0);
  EXPECT_THAT(Refusal(Options()), HasSubstr("belongs to user 12345"));
  Folder::Options options = Options();
  options.allow_shared = true;
  EXPECT_EQ(Refusal(options), "accepted");
}

TEST_F(FolderTest, TakesASharedFolderWhenToldTo) {
  fs::create_directory(path());
  ASSERT_EQ(chmod(path().c_str(), 0777), 0);
  EXPECT_THAT(Refusal(Options()), HasSubstr("lets others write"));
  Folder::Options options = Options();
  options.allow_shared = true;
  EXPECT_EQ(Refusal(options), "accepted");
}

}  // namespace
}  // namespace esa::testing
