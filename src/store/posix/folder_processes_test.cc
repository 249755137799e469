// One folder of the posix store, several processes.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/check.h"
#include "base/random.h"
#include "store/posix/file_names.h"
#include "store/posix/folder.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBytes = 4096;
constexpr std::uint64_t kCapacity = 16;  // blocks

// A process that runs a function and then waits to be killed; what it says comes over a pipe.
class Child {
 public:
  explicit Child(const std::function<std::uint64_t()>& run) {
    int ends[2];
    ESA_CHECK(pipe(ends) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      const std::uint64_t said = run();
      ESA_CHECK(write(ends[1], &said, sizeof(said)) == sizeof(said));
      for (;;) pause();
    }
    close(ends[1]);
    from_ = ends[0];
  }
  ~Child() {
    Kill();
    close(from_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  std::uint64_t Said() const {
    std::uint64_t said = 0;
    ESA_CHECK(read(from_, &said, sizeof(said)) == sizeof(said));
    return said;
  }
  void Kill() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  int from_ = -1;
};

class FolderProcesses : public ::testing::Test {
 protected:
  std::unique_ptr<Folder> Open() {
    auto folder = Folder::Open(*files_, {.path = path(), .capacity_bytes = kCapacity * kBytes});
    ESA_CHECK(folder.ok());
    return *std::move(folder);
  }

  static BlockId IdOf(std::uint64_t number) {
    SplitMix64 random(number);
    BlockId id;
    for (std::uint8_t& byte : id.bytes) byte = static_cast<std::uint8_t>(random.Next());
    return id;
  }

  bool Put(Folder& folder, std::uint64_t number) {
    if (!folder.Reserve(kBytes)) return false;
    const BlockId id = IdOf(number);
    ESA_CHECK(folder.MakeFanOut(id).ok());
    const std::string temporary = folder.NewTemporaryPath(id);
    {
      auto file = files_->Open(temporary, {.mode = OpenMode::kCreate});
      ESA_CHECK(file.ok() && (*file)->Allocate(kBytes).ok());
    }
    ESA_CHECK(folder.Commit(temporary, id, {kBytes, ++last_stamp_us_}).ok());
    return true;
  }

  std::uint64_t PutMany(Folder& folder, std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      ESA_CHECK(Put(folder, first + i));
      if (i % 8 == 0) most_on_disk_ = std::max(most_on_disk_, OnDisk());
    }
    StoreStats stats;
    folder.AddTo(&stats);
    return stats.evicted_blocks;
  }

  // Blocks and temporaries. Slower than they are moved, so only roughly of one moment: what is
  // renamed while the folders are gone through may be seen twice.
  std::uint64_t OnDisk() const {
    std::uint64_t count = 0;
    const auto fans = files_->List(path());
    for (const std::string& fan : *fans) {
      if (IsFanOutName(fan)) count += files_->List(path() + "/" + fan)->size();
    }
    return count;
  }
  bool Holds(std::uint64_t number) const { return fs::exists(BlockPath(path(), IdOf(number))); }
  std::string path() const { return temporary_.path() + "/folder"; }

  TemporaryFolder temporary_;
  const std::unique_ptr<FileSystem> files_ = MakeRealFileSystem();
  std::int64_t last_stamp_us_ = 1000;
  std::uint64_t most_on_disk_ = 0;
};

TEST_F(FolderProcesses, KeepOneCapacityAndEvictNothingTwice) {
  Child child([this] { return PutMany(*Open(), 1000, 100); });
  const auto folder = Open();
  const std::uint64_t evicted_here = PutMany(*folder, 5000, 100);
  const std::uint64_t evicted_there = child.Said();
  EXPECT_EQ(OnDisk(), kCapacity);
  EXPECT_EQ(evicted_here + evicted_there, 200 - kCapacity);
  EXPECT_LE(most_on_disk_, kCapacity + 2);
}

TEST_F(FolderProcesses, RespectPinsUntilTheirOwnerDies) {
  Child child([this] {
    // Never destroyed: the process is killed.
    Folder* folder = Open().release();
    PutMany(*folder, 1, kCapacity);
    for (std::uint64_t number = 1; number <= kCapacity / 2; ++number) folder->Pin(IdOf(number));
    folder->Flush();
    return std::uint64_t{0};
  });
  child.Said();
  last_stamp_us_ = 2000;
  const auto folder = Open();
  PutMany(*folder, 100, kCapacity / 2);
  for (std::uint64_t number = 1; number <= kCapacity; ++number) {
    EXPECT_EQ(Holds(number), number <= kCapacity / 2) << number;
  }
  // The other half is pinned here: there is no room until the other process dies.
  for (std::uint64_t i = 0; i < kCapacity / 2; ++i) folder->Pin(IdOf(100 + i));
  EXPECT_FALSE(Put(*folder, 200));
  child.Kill();
  EXPECT_TRUE(Put(*folder, 200));
  EXPECT_FALSE(Holds(1));
  EXPECT_EQ(OnDisk(), kCapacity);
}

TEST_F(FolderProcesses, AKilledOneLeavesRoomToTheNextThatOpens) {
  Child child([this] {
    Folder* folder = Open().release();
    for (std::uint64_t i = 0; i < kCapacity / 2; ++i) {  // reserved and begun, never committed
      ESA_CHECK(folder->Reserve(kBytes).ok());
      ESA_CHECK(folder->MakeFanOut(IdOf(i)).ok());
      auto file = files_->Open(folder->NewTemporaryPath(IdOf(i)), {.mode = OpenMode::kCreate});
      ESA_CHECK(file.ok() && (*file)->Allocate(kBytes).ok());
    }
    return std::uint64_t{0};
  });
  child.Said();
  last_stamp_us_ = 2000;
  const auto beside = Open();
  PutMany(*beside, 100, kCapacity);
  EXPECT_EQ(OnDisk(), kCapacity);  // half of them temporaries of the other
  child.Kill();
  const auto folder = Open();
  EXPECT_EQ(OnDisk(), kCapacity / 2);
  PutMany(*folder, 200, kCapacity / 2);
  EXPECT_EQ(OnDisk(), kCapacity);
  EXPECT_TRUE(Holds(100 + kCapacity / 2));
}

TEST_F(FolderProcesses, RoomOfAKilledOneWithoutFilesIsFreeToTheNextThatOpensAlone) {
  Child child([this] {
    ESA_CHECK(Open().release()->Reserve(kBytes * kCapacity).ok());
    return std::uint64_t{0};
  });
  child.Said();
  EXPECT_FALSE(Put(*Open(), 1));
  child.Kill();
  EXPECT_TRUE(Put(*Open(), 1));
}

}  // namespace
}  // namespace esa::testing
