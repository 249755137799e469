#include "store/store_maintenance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "store/posix/file_names.h"
#include "store/posix/file_system.h"
#include "store/posix/folder.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kBlockBytes = 32768;  // of kSmallLayout
constexpr std::int64_t kHourUs = 3600 * std::int64_t{1000000};

class Maintenance : public ::testing::Test {
 protected:
  std::unique_ptr<BlockStore> OpenStore() {
    StoreConfig config;
    config.storage_backends = {path_};
    config.pack_below_bytes = 0;
    return *CreateBlockStore(config, kSmallLayout);
  }

  std::vector<SampleBlock> DumpChain(std::uint32_t first, std::uint32_t count) {
    std::vector<SampleBlock> chain = SampleChain(first, count);
    const auto store = OpenStore();
    for (const SampleBlock& block : chain) DumpAll(*store, block);
    return chain;
  }

  std::string PathOf(const SampleBlock& block) const { return BlockPath(path_, block.id()); }
  bool Exists(const SampleBlock& block) const { return std::filesystem::exists(PathOf(block)); }

  void Corrupt(const SampleBlock& block) {
    std::fstream file(PathOf(block), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('!');
  }

  // A temporary file of a writer that is not there any more.
  std::string LeaveOver(const SampleBlock& block) {
    const std::string path = TemporaryPath(path_, block.id(), "77-dead", 0);
    std::filesystem::create_directories(FanOutPath(path_, block.id()));
    std::ofstream(path) << "half";
    return path;
  }

  void Age(const SampleBlock& block, std::int64_t by_us) {
    const auto time = std::filesystem::last_write_time(PathOf(block));
    std::filesystem::last_write_time(PathOf(block), time - std::chrono::microseconds(by_us));
  }

  static std::int64_t NowUs() {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }

  void FillQuarantine(std::uint32_t count) {
    for (std::uint32_t seed = 0; seed < count; ++seed) {
      std::ofstream(QuarantinePath(path_, SampleBlock(500 + seed).id())) << "1234";
    }
  }

  const TemporaryFolder folder_;
  const std::string path_ = folder_.path();
};

TEST_F(Maintenance, VerifyFindsAndQuarantines) {
  const auto chain = DumpChain(1, 12);
  Corrupt(chain[3]);
  Corrupt(chain[7]);
  std::filesystem::resize_file(PathOf(chain[9]), 5000);
  std::uint64_t last = 0, total = 0;
  const VerifyOptions options{
      .threads = 3, .quarantine = false, .on_progress = [&](std::uint64_t done, std::uint64_t all) {
        EXPECT_GE(done, last);
        last = done;
        total = all;
      }};
  const Result<VerifyReport> dry = VerifyFolder(path_, options);
  ASSERT_TRUE(dry.ok());
  EXPECT_EQ(dry->blocks, 12u);
  EXPECT_EQ(dry->corrupt, 3u);
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, 11 * kBlockBytes + 5000);
  ASSERT_EQ(dry->findings.size(), 3u);
  EXPECT_LT(dry->findings[0].id, dry->findings[1].id);
  EXPECT_FALSE(dry->findings[0].quarantined);
  EXPECT_TRUE(Exists(chain[3]));

  const Result<VerifyReport> report = VerifyFolder(path_, {});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->corrupt, 3u);
  EXPECT_TRUE(report->findings[2].quarantined);
  for (const int i : {3, 7, 9}) {
    EXPECT_FALSE(Exists(chain[i]));
    EXPECT_TRUE(std::filesystem::exists(QuarantinePath(path_, chain[i].id())));
  }
  const Result<VerifyReport> again = VerifyFolder(path_, {});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->blocks, 9u);
  EXPECT_TRUE(again->findings.empty());
}

TEST_F(Maintenance, VerifyLeavesForeignVersionsAlone) {
  const auto chain = DumpChain(1, 2);
  {
    std::fstream file(PathOf(chain[1]), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(8);
    file.put(1);
  }
  const Result<VerifyReport> report = VerifyFolder(path_, {});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->foreign, 1u);
  EXPECT_EQ(report->corrupt, 0u);
  ASSERT_EQ(report->findings.size(), 1u);
  EXPECT_EQ(report->findings[0].fault, VerifyReport::Fault::kForeign);
  EXPECT_TRUE(Exists(chain[1]));
}

// Blocks come, go and are used while the folder is verified and tidied.
TEST_F(Maintenance, WorksBesideStores) {
  const auto store = OpenStore();
  const auto chain = SampleChain(1, 24);
  std::jthread writer([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      for (const SampleBlock& block : chain) {
        EXPECT_TRUE(DumpAll(*store, block).failures.empty());
        (void)Hit(*store, block);
      }
      for (std::size_t i = 0; i < chain.size(); i += 2) (void)store->Remove(chain[i].id());
    }
  });
  for (int round = 0; round < 15; ++round) {
    const auto verified = VerifyFolder(path_, {});
    ASSERT_TRUE(verified.ok()) << verified.error().message;
    EXPECT_TRUE(verified->findings.empty());
    const auto collected = CollectFolder(path_, {.capacity_bytes = 8 * kBlockBytes});
    ASSERT_TRUE(collected.ok()) << collected.error().message;
    EXPECT_EQ(collected->leftovers.count, 0u);
    ASSERT_TRUE(InspectFolder(path_).ok());
  }
  writer = {};
  EXPECT_EQ(store->Stats().dump_failures, 0u);
  EXPECT_EQ(store->Stats().quarantined_blocks, 0u);
}

TEST_F(Maintenance, CollectRemovesWhatDeadWritersLeft) {
  const auto store = OpenStore();
  const SampleBlock open(40), done(41);
  DumpAll(*store, done);
  ASSERT_TRUE(*store->Begin(open.key(), {}));
  Finish(*store, store->Dump({open.Write(0)}));
  const std::string leftover = LeaveOver(done);
  const auto dry = CollectFolder(path_, {.dry_run = true});
  ASSERT_TRUE(dry.ok());
  EXPECT_EQ(dry->leftovers.count, 1u);
  EXPECT_EQ(dry->leftovers.bytes, 4u);
  EXPECT_TRUE(std::filesystem::exists(leftover));
  const auto report = CollectFolder(path_, {});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->leftovers.count, 1u);
  EXPECT_EQ(report->open.count, 1u);
  EXPECT_EQ(report->kept.count, 1u);
  EXPECT_FALSE(std::filesystem::exists(leftover));
  // What the living store was writing is untouched.
  std::vector<SliceWrite> rest = open.Writes();
  rest.erase(rest.begin());
  EXPECT_TRUE(Finish(*store, store->Dump(rest)).failures.empty());
  EXPECT_TRUE(LoadAll(*store, open).ok());
}

TEST_F(Maintenance, CollectEvictsTheEndsOfChainsFirst) {
  const auto chain = DumpChain(1, 6);
  const CollectOptions options{.capacity_bytes = 4 * kBlockBytes + 1, .dry_run = true};
  const auto dry = CollectFolder(path_, options);
  ASSERT_TRUE(dry.ok());
  EXPECT_EQ(dry->evicted.count, 2u);
  EXPECT_TRUE(Exists(chain[5]));
  const auto report = CollectFolder(path_, {.capacity_bytes = 4 * kBlockBytes + 1});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->evicted.count, 2u);
  EXPECT_EQ(report->evicted.bytes, 2 * kBlockBytes);
  EXPECT_EQ(report->kept.count, 4u);
  EXPECT_EQ(report->kept.bytes, 4 * kBlockBytes);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(Exists(chain[i]), i < 4) << i;
}

TEST_F(Maintenance, BlocksBeingWrittenCountIntoTheCapacity) {
  const auto chain = DumpChain(1, 3);
  const auto store = OpenStore();
  const SampleBlock open(40);
  ASSERT_TRUE(*store->Begin(open.key(), {}));
  Finish(*store, store->Dump({open.Write(0)}));
  const auto report = CollectFolder(path_, {.capacity_bytes = 3 * kBlockBytes});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->evicted.count, 1u);
  EXPECT_EQ(report->open.bytes, kBlockBytes);
  EXPECT_FALSE(Exists(chain[2]));
}

// The collector waits for the lock with its list of files made, while the oldest block is used.
// Should it be slower than that, it finds the block used and keeps it as well.
TEST_F(Maintenance, WhatIsUsedMeanwhileStays) {
  const auto chain = DumpChain(1, 3);
  const auto files = MakeRealFileSystem();
  auto lock = *files->Lock(path_ + "/" + kLockName, true);
  Result<CollectReport> report = CollectReport();
  std::jthread collector(
      [&] { report = CollectFolder(path_, {.capacity_bytes = 2 * kBlockBytes}); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  Age(chain[2], -kHourUs);
  lock.reset();
  collector.join();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->kept.count, 2u);
  EXPECT_TRUE(Exists(chain[2]));
  EXPECT_FALSE(Exists(chain[1]));
}

TEST_F(Maintenance, CollectEvictsWhatIsNotUsed) {
  const auto chain = DumpChain(1, 4);
  Age(chain[2], 10 * kHourUs);
  Age(chain[3], 10 * kHourUs);
  EXPECT_EQ(CollectFolder(path_, {.used_since_us = NowUs() - 11 * kHourUs})->expired.count, 0u);
  const auto report = CollectFolder(path_, {.used_since_us = NowUs() - 9 * kHourUs});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->expired.count, 2u);
  EXPECT_EQ(report->evicted.count, 0u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Exists(chain[i]), i < 2) << i;
}

TEST_F(Maintenance, CollectTrimsTheQuarantine) {
  DumpChain(1, 1);
  FillQuarantine(kMaxQuarantined + 3);
  const auto trimmed = CollectFolder(path_, {});
  ASSERT_TRUE(trimmed.ok());
  EXPECT_EQ(trimmed->quarantined.count, 3u);
  EXPECT_EQ(InspectFolder(path_)->quarantined.count, kMaxQuarantined);
  const auto emptied = CollectFolder(path_, {.empty_quarantine = true});
  ASSERT_TRUE(emptied.ok());
  EXPECT_EQ(emptied->quarantined.count, kMaxQuarantined);
  EXPECT_EQ(emptied->quarantined.bytes, 4 * kMaxQuarantined);
  EXPECT_EQ(InspectFolder(path_)->quarantined.count, 0u);
}

TEST_F(Maintenance, FindsBlocksByPrefix) {
  const auto chain = DumpChain(1, 5);
  const std::vector<std::string> folders = {path_};
  const auto find = [&](const std::string& text, bool with_chain = false) {
    return FindBlocks(folders, std::vector<std::string>{text}, with_chain);
  };
  const std::string id = chain[1].id().Hex();
  ASSERT_EQ(find(id)->size(), 1u);
  std::string upper = id.substr(0, 8);
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(find(upper)->at(0).id, chain[1].id());
  const auto continued = find(id, true);
  ASSERT_TRUE(continued.ok());
  ASSERT_EQ(continued->size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(continued->at(i).id, chain[4 - i].id());
  EXPECT_THAT(find(id.substr(0, 3)).error().message, HasSubstr("expected 4 to 32 hexadecimal"));
  EXPECT_THAT(find(id + "0").error().message, HasSubstr("expected 4 to 32 hexadecimal"));
  EXPECT_EQ(find("xyzw").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(find("0123456789").error().code, ErrorCode::kNotFound);
}

TEST_F(Maintenance, APrefixOfTwoBlocksNamesNone) {
  const auto chain = DumpChain(1, 1);
  BlockId twin = chain[0].id();
  twin.bytes[15] ^= 1;
  std::filesystem::copy_file(PathOf(chain[0]), BlockPath(path_, twin));
  const std::vector<std::string> folders = {path_};
  const std::vector<std::string> prefix = {twin.Hex().substr(0, 30)};
  const auto found = FindBlocks(folders, prefix, false);
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.error().message, HasSubstr("is not unique"));
}

TEST_F(Maintenance, RemovesBlocks) {
  const auto chain = DumpChain(1, 4);
  const auto store = OpenStore();
  EXPECT_TRUE(Hit(*store, chain[2]));
  const auto found = FindBlocks(std::vector<std::string>{path_},
                                std::vector<std::string>{chain[2].id().Hex()}, true);
  ASSERT_TRUE(found.ok());
  std::filesystem::remove(PathOf(chain[3]));
  const auto removed = RemoveBlocks(*found);
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(removed->count, 1u);  // the other was gone
  EXPECT_EQ(removed->bytes, kBlockBytes);
  // A store that runs notices when it marks the use.
  const auto deadline = Soon();
  while (Hit(*store, chain[2]) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_FALSE(Hit(*store, chain[2]));
  EXPECT_TRUE(Hit(*store, chain[1]));
}

TEST_F(Maintenance, RemovesAll) {
  DumpChain(1, 4);
  FillQuarantine(2);
  const std::string leftover = LeaveOver(SampleBlock(30));
  const auto dry = RemoveAllBlocks(path_, {.dry_run = true});
  ASSERT_TRUE(dry.ok());
  EXPECT_EQ(dry->expired.count, 4u);
  EXPECT_EQ(InspectFolder(path_)->blocks, 4u);
  const auto report = RemoveAllBlocks(path_, {});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->expired.count, 4u);
  EXPECT_EQ(report->kept.count, 0u);
  EXPECT_EQ(report->quarantined.count, 2u);
  EXPECT_FALSE(std::filesystem::exists(leftover));
  EXPECT_EQ(InspectFolder(path_)->blocks, 0u);
}

TEST_F(Maintenance, ChangesASharedFolderOnlyWhenToldTo) {
  const auto chain = DumpChain(1, 4);
  const std::vector<BlockInfo> last =
      *FindBlocks(std::vector{path_}, std::vector{chain[3].id().Hex()}, false);
  Corrupt(chain[2]);
  std::filesystem::permissions(path_, std::filesystem::perms::all);
  for (const Error& refusal :
       {VerifyFolder(path_, {}).error(), RemoveBlocks(last).error(),
        CollectFolder(path_, {.capacity_bytes = 0}).error(), RemoveAllBlocks(path_, {}).error()}) {
    EXPECT_EQ(refusal.code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(refusal.message, HasSubstr("lets others write"));
  }
  EXPECT_EQ(InspectFolder(path_)->blocks, 4u);
  EXPECT_EQ(VerifyFolder(path_, {.quarantine = false})->corrupt, 1u);
  EXPECT_EQ(CollectFolder(path_, {.capacity_bytes = 0, .dry_run = true})->evicted.count, 4u);
  EXPECT_EQ(RemoveAllBlocks(path_, {.dry_run = true})->expired.count, 4u);

  EXPECT_TRUE(VerifyFolder(path_, {.allow_shared_folder = true})->findings.at(0).quarantined);
  EXPECT_EQ(RemoveBlocks(last, /*allow_shared_folder=*/true)->count, 1u);
  const CollectOptions to_one{.capacity_bytes = kBlockBytes, .allow_shared_folder = true};
  EXPECT_EQ(CollectFolder(path_, to_one)->evicted.count, 1u);
  EXPECT_EQ(RemoveAllBlocks(path_, {.allow_shared_folder = true})->expired.count, 1u);
  EXPECT_EQ(InspectFolder(path_)->blocks, 0u);
}

TEST_F(Maintenance, TouchesNothingInWhatIsNoStore) {
  const SampleBlock block(1);
  std::filesystem::create_directories(FanOutPath(path_, block.id()));
  std::ofstream(PathOf(block)) << "mine";
  for (const auto& code :
       {RemoveAllBlocks(path_, {}).error().code, CollectFolder(path_, {}).error().code,
        VerifyFolder(path_, {}).error().code}) {
    EXPECT_EQ(code, ErrorCode::kInvalidArgument);
  }
  EXPECT_TRUE(Exists(block));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path_), {}), 1);
}

}  // namespace
}  // namespace esa::testing
