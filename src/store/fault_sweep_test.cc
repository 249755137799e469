// The posix store on a disk of which each call fails once: of every kind, at every place of a small
// workload. Nothing wrong is served, no room is lost, nothing hangs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"
#include "store/posix/file_names.h"
#include "store/posix/packed_files.h"
#include "store/posix/posix_store.h"
#include "store/testing/faulty_files.h"
#include "store/testing/store_fixture.h"
#include "store/testing/volatile_files.h"

namespace esa::testing {
namespace {

using ::testing::IsEmpty;

constexpr BlockLayout kTinyLayout{
    .block_tokens = 4, .num_slices = 2, .slice_bytes = 4096, .representation_bytes = 40};
constexpr std::uint64_t kFileBytes = 4096 * (1 + 1 + 2);
constexpr char kPath[] = "/store";

struct Kind {
  Durability durability;
  bool packs;  // blocks share files
};

class FaultSweep : public ::testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<BlockStore> Open(const VolatileDisk& disk) {
    StoreConfig config;
    config.storage_backends = {kPath};
    config.capacity_bytes = 2 * kFileBytes;
    config.durability = GetParam().durability;
    if (!GetParam().packs) config.pack_below_bytes = 0;
    config.io_threads = 1;
    config.io_direct = true;
    auto store = CreatePosixStoreOn(MakeFaultyFiles(faults_, disk.Files()), config, kTinyLayout);
    return store.ok() ? *std::move(store) : nullptr;
  }

  // Dumps, evicts, finds, loads, removes, dumps anew. Whatever succeeds must be right.
  void Work(const VolatileDisk& disk, BlockStore& store) {
    for (const SampleBlock& block : samples_) Write(disk, store, block);
    for (const SampleBlock& block : samples_) {
      (void)Hit(store, block);
      EXPECT_FALSE(ServedWrongBytes(LoadAllAndTokens(store, block)));
      Finish(store, store.Prefetch(std::vector<BlockId>{block.id()}));
    }
    (void)store.Remove(samples_[2].id());
    Write(disk, store, samples_[2]);
    EXPECT_FALSE(ServedWrongBytes(LoadAllAndTokens(store, samples_[2])));
  }

  void Write(const VolatileDisk& disk, BlockStore& store, const SampleBlock& block) {
    const bool stood = OnDisk(disk, block);
    const Result<bool> begun = store.Begin(block.key(), block.parent());
    if (!begun || !*begun) return;
    std::vector<SliceWrite> writes = block.Writes();
    TaskResult result;
    if (&block == &samples_[1]) {  // in two requests
      result = Finish(store, store.Dump({writes.front()}));
      writes.erase(writes.begin());
    }
    if (result.failures.empty()) result = Finish(store, store.Dump(writes));
    if (result.failures.empty()) return;
    store.Abandon(block.id());
    EXPECT_TRUE(faults_->struck()) << result.failures[0].error.message;
    if (fails_once_) {
      EXPECT_FALSE(!stood && OnDisk(disk, block)) << "reported as failed, yet stored";
    }
  }

  static std::vector<std::string> Paths(const VolatileDisk& disk) {
    return StoredPaths(*MakePackedFiles(disk.Files()), kPath);
  }

  static bool OnDisk(const VolatileDisk& disk, const SampleBlock& block) {
    const std::vector<std::string> paths = Paths(disk);
    return std::ranges::find(paths, BlockPath(kPath, block.id())) != paths.end();
  }

  // The fault is over: all room can be had, and a store that opens finds nothing left over.
  void ExpectSound(const VolatileDisk& disk, std::unique_ptr<BlockStore> store) {
    faults_->Clear();
    if (store == nullptr) store = Open(disk);
    ASSERT_NE(store, nullptr);
    for (const SampleBlock& block : samples_) {
      EXPECT_FALSE(ServedWrongBytes(LoadAllAndTokens(*store, block)));
      (void)store->Remove(block.id());
    }
    EXPECT_EQ(store->Stats().bytes, 0u);
    for (int i = 0; i < 2; ++i) EXPECT_THAT(DumpAll(*store, samples_[i]).failures, IsEmpty());
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(LoadAllAndTokens(*store, samples_[i]).ok());
    EXPECT_EQ(store->Stats().bytes, 2 * kFileBytes);
    EXPECT_EQ(store->Stats().pending_tasks, 0u);
    store.reset();
    store = Open(disk);
    ASSERT_NE(store, nullptr);
    EXPECT_EQ(store->Stats().blocks, 2u);
    std::size_t blocks = 0;
    for (const std::string& path : Paths(disk)) {
      EXPECT_FALSE(path.ends_with(".tmp") || path.ends_with(".probe")) << path;
      blocks += path.ends_with(".block") ? 1 : 0;
    }
    EXPECT_EQ(blocks, 2u);
  }

  // Whether the fault was met.
  bool RunWith(FileCall call, std::uint64_t first, std::uint64_t last, const Error& error) {
    const VolatileDisk disk;
    fails_once_ = last != 0;
    faults_->FailOn(call, first, last, error);
    std::unique_ptr<BlockStore> store = Open(disk);
    if (store != nullptr) Work(disk, *store);
    const bool struck = faults_->struck();
    ExpectSound(disk, std::move(store));
    return struck;
  }

  const std::vector<SampleBlock> samples_ = SampleChain(1, 3, kTinyLayout);
  bool fails_once_ = false;
  const std::shared_ptr<Faults> faults_ = std::make_shared<Faults>();
};

TEST_P(FaultSweep, EveryCallOfEveryKindFailsOnce) {
  std::size_t cases = 0;
  for (const Error& error :
       {IoError("Input/output error"), ResourceExhausted("Too many open files"),
        NotFound("Stale file handle")}) {
    for (const FileCall call : kFileCalls) {
      std::uint64_t nth = 1;
      while (RunWith(call, nth, nth, error)) {
        ASSERT_FALSE(HasFailure())
            << "call " << static_cast<int>(call) << ", number " << nth << ", " << error.message;
        ++nth;
      }
      // What shares a file is renamed, and its time set, in the table.
      const bool always_called =
          (call != FileCall::kSync || GetParam().durability == Durability::kCommit) &&
          ((call != FileCall::kRename && call != FileCall::kSetModified) || !GetParam().packs);
      if (always_called) {
        EXPECT_GT(nth, 1u) << static_cast<int>(call);
      }
      cases += nth - 1;
    }
  }
  RecordProperty("cases", std::to_string(cases));
  EXPECT_GT(cases, 200u);
}

TEST_P(FaultSweep, EveryCallOfEveryKindFailsForGood) {
  for (const FileCall call : kFileCalls) {
    for (std::uint64_t nth = 1; RunWith(call, nth, 0, IoError("Input/output error")); ++nth) {
      ASSERT_FALSE(HasFailure()) << "call " << static_cast<int>(call) << " from " << nth << " on";
    }
  }
}

TEST_P(FaultSweep, AFullDiskAtEveryPage) {
  for (std::uint64_t bytes = 0; bytes <= 5 * kFileBytes; bytes += 2048) {
    const VolatileDisk disk;
    std::unique_ptr<BlockStore> store = Open(disk);
    ASSERT_NE(store, nullptr);
    faults_->DiskFullAfter(bytes);
    for (const SampleBlock& block : samples_) {
      ASSERT_TRUE(*store->Begin(block.key(), block.parent()));
      if (!Finish(*store, store->Dump(block.Writes())).failures.empty()) store->Abandon(block.id());
      EXPECT_FALSE(ServedWrongBytes(LoadAllAndTokens(*store, block)));
    }
    ExpectSound(disk, std::move(store));
    ASSERT_FALSE(HasFailure()) << bytes;
  }
}

// The file of a block goes at any moment of its use.
TEST_P(FaultSweep, AFileThatVanishesIsAMiss) {
  const VolatileDisk disk;
  std::unique_ptr<BlockStore> store = Open(disk);
  ASSERT_NE(store, nullptr);
  const auto files = MakePackedFiles(disk.Files());
  SplitMix64 random(5);
  for (int i = 0; i < 300; ++i) {
    const SampleBlock& block = samples_[random.Below(2)];
    switch (random.Below(4)) {
      case 0:
        for (const std::string& path : Paths(disk)) {
          if (path.find(block.id().Hex() + ".block") != path.npos) (void)files->Remove(path);
        }
        // A lookup may say so a while longer; what is served is right nevertheless.
        (void)Hit(*store, block);
        EXPECT_FALSE(ServedWrongBytes(LoadAllAndTokens(*store, block)));
        break;
      case 1:
        EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
        EXPECT_TRUE(Hit(*store, block));
        break;
      default:
        EXPECT_FALSE(ServedWrongBytes(LoadAllAndTokens(*store, block)));
    }
  }
  ExpectSound(disk, std::move(store));
}

TEST_P(FaultSweep, AHungDiskHoldsUpNobodyWhoCancels) {
  const VolatileDisk disk;
  std::unique_ptr<BlockStore> store = Open(disk);
  ASSERT_NE(store, nullptr);
  ASSERT_THAT(DumpAll(*store, samples_[0]).failures, IsEmpty());
  ASSERT_TRUE(*store->Begin(samples_[1].key(), {}));
  faults_->Delay(std::chrono::milliseconds(300));
  const AlignedBuffer buffer = MakeAligned(4096);
  const auto start = std::chrono::steady_clock::now();
  std::vector<TaskId> tasks{*store->Dump(samples_[1].Writes())};
  for (int i = 0; i < 20; ++i) tasks.push_back(*store->Load({{samples_[0].id(), 0, buffer.get()}}));
  for (const TaskId task : tasks) store->Cancel(task);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(200));
  for (const TaskId task : tasks) Finish(*store, task);
  store->Abandon(samples_[1].id());
  ExpectSound(disk, std::move(store));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, FaultSweep,
    ::testing::Values(Kind{Durability::kNone, false}, Kind{Durability::kCommit, false},
                      Kind{Durability::kNone, true}, Kind{Durability::kCommit, true}),
    [](const auto& kind) {
      const bool durable = kind.param.durability == Durability::kCommit;
      return std::string(durable ? "Commit" : "None") + (kind.param.packs ? "Packed" : "");
    });

}  // namespace
}  // namespace esa::testing
