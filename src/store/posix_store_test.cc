// What the posix store promises beyond block_store.h: files, folders, other processes, restarts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "store/posix/file_names.h"
#include "store/posix/folder.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PosixStore : public ::testing::Test {
 protected:
  StoreConfig Config() const {
    StoreConfig config;
    config.storage_backends = {path()};
    config.pack_below_bytes = 0;  // these tests look at the files of blocks
    return config;
  }
  std::unique_ptr<BlockStore> Open() const { return Open(Config()); }
  static std::unique_ptr<BlockStore> Open(const StoreConfig& config) {
    auto store = CreateBlockStore(config, kSmallLayout);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return *std::move(store);
  }
  std::string path() const { return folder_.path() + "/store"; }
  std::string FileOf(const SampleBlock& block) const { return BlockPath(path(), block.id()); }

  // Files below the folder whose names end so.
  std::size_t Count(const std::string& ending) const {
    std::size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path())) {
      if (entry.path().string().ends_with(ending)) ++count;
    }
    return count;
  }

  // The pid of a child that began a block, wrote five of its six slices, and hangs.
  pid_t ForkHangingWriter(const SampleBlock& done, const SampleBlock& torn) const {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
      const auto store = Open();
      DumpAll(*store, done);
      (void)store->Begin(torn.key(), {});
      for (std::uint32_t i = 0; i < 5; ++i) Finish(*store, store->Dump({torn.Write(i)}));
      if (write(ready[1], "r", 1) != 1) _exit(1);
      for (;;) pause();
    }
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(PosixStore, SurvivesARestart) {
  const SampleBlock block(1);
  DumpAll(*Open(), block);
  const auto store = Open();
  EXPECT_EQ(store->Stats().blocks, 1u);
  EXPECT_TRUE(Hit(*store, block));
  EXPECT_TRUE(LoadAll(*store, block).ok());
  EXPECT_FALSE(*store->Begin(block.key(), {}));
}

TEST_F(PosixStore, FilesAndFoldersAreItsOwners) {
  const SampleBlock block(1);
  const auto store = Open();
  DumpAll(*store, block);
  struct stat info {};
  for (const auto& entry : fs::recursive_directory_iterator(path())) {
    ASSERT_EQ(stat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777u, entry.is_directory() ? 0700u : 0600u) << entry.path();
  }
  ASSERT_EQ(stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777u, 0700u);
}

TEST_F(PosixStore, LeavesNothingOfWhatWasNotCommitted) {
  const SampleBlock abandoned(1), open(2);
  {
    const auto store = Open();
    for (const SampleBlock* block : {&abandoned, &open}) {
      ASSERT_TRUE(*store->Begin(block->key(), {}));
      Finish(*store, store->Dump({block->Write(3)}));
    }
    EXPECT_EQ(Count(".tmp"), 2u);
    store->Abandon(abandoned.id());
    EXPECT_EQ(Count(".tmp"), 1u);
  }
  EXPECT_EQ(Count(".tmp") + Count(".block") + Count(".owner"), 0u);
}

TEST_F(PosixStore, AKilledProcessLeavesNothingTorn) {
  const SampleBlock done(1), torn(2);
  const pid_t child = ForkHangingWriter(done, torn);
  {
    const auto store = Open();  // beside the living: what it writes is left alone
    EXPECT_EQ(Count(".tmp"), 1u);
    EXPECT_TRUE(LoadAll(*store, done).ok());
    EXPECT_FALSE(Hit(*store, torn));
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(Count(".tmp"), 1u);
  const auto store = Open();
  EXPECT_EQ(Count(".tmp"), 0u);
  EXPECT_EQ(Count(".owner"), 1u);
  EXPECT_TRUE(LoadAll(*store, done).ok());
  EXPECT_FALSE(Hit(*store, torn));
  EXPECT_EQ(store->Stats().blocks, 1u);
  EXPECT_THAT(DumpAll(*store, torn).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, torn).ok());
}

TEST_F(PosixStore, TwoStoresShareAFolder) {
  const auto one = Open(), other = Open();
  const SampleBlock a(1), b(2), both(3);
  DumpAll(*one, a);
  EXPECT_TRUE(Hit(*other, a));
  EXPECT_TRUE(LoadAll(*other, a).ok());
  EXPECT_FALSE(*other->Begin(a.key(), {}));
  ASSERT_TRUE(*one->Begin(both.key(), {}));
  ASSERT_TRUE(*other->Begin(both.key(), {}));
  Finish(*one, one->Dump(both.Writes()));
  EXPECT_THAT(Finish(*other, other->Dump(both.Writes())).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*one, both).ok());
  EXPECT_TRUE(LoadAll(*other, both).ok());
  DumpAll(*other, b);
  EXPECT_TRUE(LoadAll(*one, b).ok());
  EXPECT_TRUE(other->Remove(a.id()).ok());
  EXPECT_FALSE(Hit(*one, a));
}

TEST_F(PosixStore, AVanishedFileIsNotFound) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  fs::remove(FileOf(block));
  EXPECT_EQ(LoadPart(*store, block, 0).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_EQ(store->Stats().blocks, 0u);
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(PosixStore, NeverServesCorruptBytes) {
  const SampleBlock block(1);
  DumpAll(*Open(), block);
  std::ifstream in(FileOf(block), std::ios::binary);
  const std::string good{std::istreambuf_iterator<char>(in), {}};
  for (std::size_t at = 0; at < good.size(); at += at < 300 ? 1 : 97) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x20);
    std::ofstream(FileOf(block), std::ios::binary) << bad;
    const auto store = Open();
    const Status loaded = LoadAll(*store, block);
    if (!loaded) {
      EXPECT_EQ(loaded.error().code, ErrorCode::kDataError) << at;
      EXPECT_THAT(loaded.error().message, HasSubstr(FileOf(block)));
      EXPECT_NE(loaded.error().message, "served wrong bytes") << at;
      EXPECT_EQ(store->Stats().quarantined_blocks, 1u);
      EXPECT_FALSE(Hit(*store, block));
      EXPECT_FALSE(fs::exists(FileOf(block)));
    }
    fs::remove(FileOf(block));
  }
}

TEST_F(PosixStore, NeverServesFilesCutShortOrLengthened) {
  const SampleBlock block(1);
  for (std::size_t size : {0, 1, 95, 96, 4095, 4096, 8192, 20000, 32767, 32769, 40960}) {
    const auto store = Open();
    DumpAll(*store, block);
    ASSERT_EQ(fs::file_size(FileOf(block)), 32768u);
    fs::resize_file(FileOf(block), size);
    EXPECT_FALSE(Hit(*store, block)) << size;
    EXPECT_EQ(store->Stats().quarantined_blocks, 1u) << size;
    EXPECT_EQ(Count("quarantine/" + block.id().Hex() + ".block"), 1u);
  }
}

TEST_F(PosixStore, RefusesABlockOfAForeignLayout) {
  const SampleBlock block(1);
  DumpAll(*Open(), block);
  BlockLayout layout = kSmallLayout;
  layout.num_slices = 5;
  const auto store = *CreateBlockStore(Config(), layout);
  const AlignedBuffer buffer = MakeAligned(4096);
  const TaskResult result = Finish(*store, store->Load({{block.id(), 0, buffer.get()}}));
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures[0].error.code, ErrorCode::kNotFound);
  EXPECT_THAT(result.failures[0].error.message, HasSubstr("num_slices is 6, expected 5"));
  EXPECT_EQ(store->Stats().quarantined_blocks, 0u);
  EXPECT_TRUE(fs::exists(FileOf(block)));
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_GT(store->Stats().foreign_blocks, 0u);
}

TEST_F(PosixStore, EncryptedBlocksAreReadByTheirKeyAlone) {
  const auto with_key = [&](char digit) {
    StoreConfig config = Config();
    config.encryption_key_file = path() + "-key-" + digit;
    std::ofstream(config.encryption_key_file) << std::string(64, digit);
    fs::permissions(config.encryption_key_file, fs::perms::owner_read | fs::perms::owner_write);
    return Open(config);
  };
  const SampleBlock whole(1), piecewise(2);
  {
    const auto store = with_key('a');
    EXPECT_THAT(DumpAll(*store, whole).failures, IsEmpty());
    ASSERT_TRUE(*store->Begin(piecewise.key(), {}));
    for (std::uint32_t slice : {3, 0, 5, 1, 4, 2}) {
      EXPECT_THAT(Finish(*store, store->Dump({piecewise.Write(slice)})).failures, IsEmpty());
    }
  }
  std::ifstream in(FileOf(whole), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  for (const std::byte* plain :
       {whole.slice(0), whole.representations().data(), std::as_bytes(whole.key().tokens).data()}) {
    EXPECT_EQ(bytes.find({reinterpret_cast<const char*>(plain), 16}), std::string::npos);
  }
  for (const SampleBlock* block : {&whole, &piecewise}) {
    const auto store = with_key('a');
    EXPECT_TRUE(Hit(*store, *block));
    EXPECT_TRUE(LoadAll(*store, *block).ok());
    EXPECT_TRUE(LoadByCrew(*store, *block).ok());
    for (const auto& other : {with_key('b'), Open()}) {
      EXPECT_FALSE(Hit(*other, *block));
      EXPECT_EQ(LoadPart(*other, *block, 0).error().code, ErrorCode::kNotFound);
      EXPECT_GT(other->Stats().foreign_blocks, 0u);
      EXPECT_EQ(other->Stats().quarantined_blocks, 0u);
    }
    EXPECT_TRUE(LoadAll(*with_key('a'), *block).ok());
  }
  // A new key takes the place of the old one, block by block.
  EXPECT_THAT(DumpAll(*with_key('b'), whole).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*with_key('b'), whole).ok());
  EXPECT_FALSE(Hit(*with_key('a'), whole));
  EXPECT_TRUE(LoadAll(*with_key('a'), piecewise).ok());
}

TEST_F(PosixStore, ACrewLoadsFromMemoryBeforeTheCallReturns) {
  const SampleBlock block(1);
  const AlignedBuffer buffer = MakeAligned(6 * 4096);
  const auto ends_in_time = [&](BlockStore& store) {
    int calls = 0;
    const Crew crew = [&](const std::function<void()>& work) {
      ++calls;
      work();
    };
    std::vector<SliceRead> reads;
    for (std::uint32_t i = 0; i < 6; ++i) reads.push_back({block.id(), i, buffer.get() + i * 4096});
    const TaskId task = *store.LoadWith(crew, reads);
    EXPECT_EQ(calls, 1);
    const bool ended = store.Poll(task);
    EXPECT_THAT(Finish(store, task).failures, IsEmpty());
    EXPECT_TRUE(std::equal(block.slice(0), block.slice(0) + 6 * 4096, buffer.get()));
    return ended;
  };
  const auto store = Open();
  DumpAll(*store, block);
  (void)ends_in_time(*store);  // the block's head was not at hand
  EXPECT_TRUE(ends_in_time(*store));
  EXPECT_EQ(store->Stats().loaded_slices, 12u);
  EXPECT_EQ(store->Stats().loaded_bytes, 12u * 4096);
}

TEST_F(PosixStore, ACrewServesNothingThatIsWrong) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  EXPECT_TRUE(LoadByCrew(*store, block).ok());
  std::fstream file(FileOf(block), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-100, std::ios::end);
  file.put('\x55');
  file.close();
  EXPECT_EQ(LoadByCrew(*store, block).error().code, ErrorCode::kDataError);
  EXPECT_EQ(store->Stats().quarantined_blocks, 1u);
  EXPECT_FALSE(Hit(*store, block));
}

TEST_F(PosixStore, SeesThroughAReplacedFile) {
  const auto store = Open(), other = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  EXPECT_TRUE(LoadAll(*store, block).ok());  // head and file are at hand now
  // The same block with other bytes: as dense attention on another machine may round.
  ASSERT_TRUE(other->Remove(block.id()).ok());
  const SampleBlock rounded(77);
  std::vector<SliceWrite> writes = rounded.Writes();
  for (SliceWrite& write : writes) write.id = block.id();
  ASSERT_TRUE(*other->Begin(block.key(), {}));
  Finish(*other, other->Dump(writes));
  EXPECT_TRUE(Hit(*store, block));
  const AlignedBuffer buffer = MakeAligned(4096);
  EXPECT_THAT(Finish(*store, store->Load({{block.id(), 2, buffer.get()}})).failures, IsEmpty());
  EXPECT_EQ(store->Stats().quarantined_blocks, 0u);
}

TEST_F(PosixStore, TheQuarantineIsBounded) {
  const auto store = Open();
  for (std::uint32_t seed = 0; seed < 2 * kMaxQuarantined; ++seed) {
    const SampleBlock block(seed);
    DumpAll(*store, block);
    fs::resize_file(FileOf(block), 10);
    EXPECT_FALSE(Hit(*store, block));
  }
  EXPECT_EQ(store->Stats().quarantined_blocks, 2 * kMaxQuarantined);
  EXPECT_EQ(Count(".block"), kMaxQuarantined);
}

TEST_F(PosixStore, CapacityHoldsAfterARestart) {
  const auto chain = SampleChain(1, 6);
  {
    const auto store = Open();
    for (const SampleBlock& block : chain) DumpAll(*store, block);
    std::vector<BlockKey> keys;
    for (const SampleBlock& block : chain) keys.push_back(block.key());
    EXPECT_EQ(store->LookupPrefix(keys), 6u);
    DumpAll(*store, SampleBlock(100));
  }
  StoreConfig config = Config();
  config.capacity_bytes = 4 * 32768;
  const auto store = Open(config);
  EXPECT_EQ(Count(".block"), 4u);
  EXPECT_LE(store->Stats().bytes, config.capacity_bytes);
  // Recency was kept on disk: the end of the older chain went first.
  EXPECT_TRUE(Hit(*store, SampleBlock(100)));
  for (std::size_t i = 0; i < chain.size(); ++i) EXPECT_EQ(Hit(*store, chain[i]), i < 3) << i;
}

TEST_F(PosixStore, CapacityHoldsForTwoStores) {
  StoreConfig config = Config();
  config.capacity_bytes = 32 * 32768;
  const auto one = Open(config), other = Open(config);
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    DumpAll(*(seed % 2 == 0 ? one : other), SampleBlock(seed));
  }
  EXPECT_EQ(Count(".block"), 32u);  // never more, and no block evicted by both
}

TEST_F(PosixStore, KeepsWhatAnotherStoreUses) {
  StoreConfig config = Config();
  config.capacity_bytes = 2 * 32768;
  const auto one = Open(config);
  const SampleBlock a(1), b(2), c(3);
  DumpAll(*one, a);
  DumpAll(*one, b);
  EXPECT_TRUE(Hit(*Open(), a));
  DumpAll(*one, c);
  EXPECT_TRUE(Hit(*one, a));
  EXPECT_FALSE(Hit(*one, b));
}

// The price of lookups without a call of the file system.
TEST_F(PosixStore, AHitMayBeStaleForASecond) {
  const auto one = Open(), other = Open();
  const SampleBlock block(1);
  DumpAll(*one, block);
  EXPECT_TRUE(Hit(*one, block));
  fs::remove(FileOf(block));
  EXPECT_TRUE(*one->Begin(block.key(), {}));  // nobody is told that it is stored
  one->Abandon(block.id());
  DumpAll(*other, block);
  EXPECT_TRUE(Hit(*one, block));
  ASSERT_TRUE(other->Remove(block.id()).ok());
  EXPECT_TRUE(Hit(*one, block));
  EXPECT_TRUE(LoadPart(*one, block, 0).ok());  // from the file that is still open
  const auto deadline = Soon();
  while (Hit(*one, block) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(LoadPart(*one, block, 0).error().code, ErrorCode::kNotFound);
}

TEST_F(PosixStore, AdmitsWhatIsOfferedAgain) {
  StoreConfig config = Config();
  config.second_touch = true;
  const auto store = Open(config);
  const SampleBlock block(1), required(2);
  EXPECT_FALSE(*store->Begin(block.key(), {}, Admission::kOptional));
  EXPECT_EQ(store->Stats().refused_blocks, 1u);
  EXPECT_TRUE(*store->Begin(required.key(), {}, Admission::kRequired));
  ASSERT_TRUE(*store->Begin(block.key(), {}, Admission::kOptional));
  EXPECT_THAT(Finish(*store, store->Dump(block.Writes())).failures, IsEmpty());
  EXPECT_FALSE(*store->Begin(block.key(), {}, Admission::kOptional));  // it is stored
  EXPECT_EQ(store->Stats().refused_blocks, 1u);
}

TEST_F(PosixStore, BoundsTheWritesOfADay) {
  StoreConfig config = Config();
  config.write_bytes_per_day = 2 * 32768;
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    const auto store = Open(config);
    const SampleBlock block(seed);
    EXPECT_EQ(*store->Begin(block.key(), {}, Admission::kOptional), seed <= 2) << seed;
    EXPECT_EQ(store->Stats().refused_blocks, seed <= 2 ? 0u : 1u);
  }
}

TEST_F(PosixStore, SpreadsBlocksOverFolders) {
  StoreConfig config = Config();
  config.storage_backends = {path() + "/x", path() + "/y/", path() + "/z"};
  std::vector<SampleBlock> samples;
  for (std::uint32_t seed = 0; seed < 60; ++seed) samples.emplace_back(seed);
  {
    const auto store = Open(config);
    for (const SampleBlock& block : samples) DumpAll(*store, block);
    EXPECT_EQ(store->Stats().blocks, 60u);
  }
  for (const char* name : {"/x", "/y", "/z"}) {
    std::size_t blocks = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path() + name)) {
      blocks += entry.path().extension() == ".block" ? 1 : 0;
    }
    EXPECT_GE(blocks, 8u) << name;
  }
  std::swap(config.storage_backends[0], config.storage_backends[2]);
  const auto store = Open(config);
  for (const SampleBlock& block : samples) EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(PosixStore, WorksWithDirectIo) {
  StoreConfig config = Config();
  config.io_direct = true;
  const SampleBlock block(1);
  const auto store = Open(config);
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
  EXPECT_TRUE(LoadAll(*Open(), block).ok());
  const BlockId ids[] = {block.id()};
  EXPECT_THAT(Finish(*store, store->Prefetch(ids)).failures, IsEmpty());
  EXPECT_EQ(Count(".probe"), 0u);
}

TEST_F(PosixStore, RefusesAFolderOthersMayWriteTo) {
  fs::create_directory(path());
  for (const mode_t mode : {0777, 0770, 0702}) {
    ASSERT_EQ(chmod(path().c_str(), mode), 0);
    const auto store = CreateBlockStore(Config(), kSmallLayout);
    ASSERT_FALSE(store.ok());
    EXPECT_THAT(store.error().message, HasSubstr("lets others write"));
    EXPECT_THAT(store.error().message, HasSubstr("chmod 700 " + path()));
  }
  ASSERT_EQ(chmod(path().c_str(), 0755), 0);
  EXPECT_TRUE(CreateBlockStore(Config(), kSmallLayout).ok());
}

TEST_F(PosixStore, RefusesConfigurationsItCannotServe) {
  const auto refusal = [](const StoreConfig& config) {
    const auto store = CreateBlockStore(config, kSmallLayout);
    return store.ok() ? "accepted" : store.error().message;
  };
  StoreConfig config = Config();
  config.storage_backends = {};
  EXPECT_THAT(refusal(config), HasSubstr("storage_backends: expected at least one folder"));
  config.storage_backends = {path(), path() + "/"};
  EXPECT_THAT(refusal(config), HasSubstr("stands there twice"));
  config = Config();
  config.io_threads = 0;
  EXPECT_THAT(refusal(config), HasSubstr("io_threads: is 0, expected 1 to 256"));
  config = Config();
  config.storage_backends = {"/proc/esa/store"};
  EXPECT_THAT(refusal(config), HasSubstr("create folder"));
  config.storage_backends = {path() + "/file"};
  std::ofstream(path() + "/file") << "not a folder";
  EXPECT_THAT(refusal(config), HasSubstr("expected a folder, found a file"));
}

}  // namespace
}  // namespace esa::testing
