// The posix store on a disk that fails: every fault is a clear error of its part, and no more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <thread>

#include "store/posix/posix_store.h"
#include "store/testing/faulty_files.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class PosixStoreFaults : public ::testing::Test {
 protected:
  PosixStoreFaults() {
    config_.storage_backends = {folder_.path()};
    config_.pack_below_bytes = 0;
    config_.io_threads = 2;
  }

  std::unique_ptr<BlockStore> Open() {
    auto store = CreatePosixStoreOn(MakeFaultyFiles(faults_), config_, kSmallLayout);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return *std::move(store);
  }

  std::string Refusal() {
    const auto store = CreatePosixStoreOn(MakeFaultyFiles(faults_), config_, kSmallLayout);
    return store.ok() ? "accepted" : store.error().message;
  }

  std::size_t Files(const std::string& ending) const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
      count += entry.path().string().ends_with(ending) ? 1 : 0;
    }
    return count;
  }

  TemporaryFolder folder_;
  StoreConfig config_;
  const std::shared_ptr<Faults> faults_ = std::make_shared<Faults>();
};

TEST_F(PosixStoreFaults, AFailedWriteFailsItsBlockOnly) {
  const auto store = Open();
  const SampleBlock bad(1), good(2);
  for (std::uint64_t nth = 1; nth <= 7; ++nth) {  // 6 slices and the head
    ASSERT_TRUE(*store->Begin(bad.key(), {}));
    faults_->FailOn(FileCall::kWrite, nth, nth, IoError("disk: write: Input/output error"));
    const TaskResult result = Finish(*store, store->Dump(bad.Writes()));
    ASSERT_FALSE(result.failures.empty());
    EXPECT_THAT(result.failures[0].error.message, HasSubstr("Input/output error"));
    EXPECT_FALSE(Hit(*store, bad));
    EXPECT_EQ(Files(".tmp"), 0u);
    store->Abandon(bad.id());
    faults_->Clear();
  }
  EXPECT_THAT(DumpAll(*store, bad).failures, IsEmpty());
  EXPECT_THAT(DumpAll(*store, good).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, bad).ok());
}

TEST_F(PosixStoreFaults, AFullDiskIsSaidAndLeavesNothing) {
  const auto store = Open();
  const SampleBlock block(1);
  for (std::uint64_t bytes = 0; bytes < 32768; bytes += 3000) {
    faults_->DiskFullAfter(bytes);
    ASSERT_TRUE(*store->Begin(block.key(), {}));
    const TaskResult result = Finish(*store, store->Dump(block.Writes()));
    ASSERT_FALSE(result.failures.empty()) << bytes;
    EXPECT_EQ(result.failures[0].error.code, ErrorCode::kResourceExhausted);
    store->Abandon(block.id());
    EXPECT_EQ(Files(".tmp") + Files(".block"), 0u) << bytes;
    faults_->Clear();
  }
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(PosixStoreFaults, NoRoomForABlockIsSaidWithItsFirstSlice) {
  const auto store = Open();
  const SampleBlock block(1);
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  faults_->FailOn(FileCall::kAllocate, 1, 0,
                  ResourceExhausted("allocate: No space left on device"));
  const TaskResult result = Finish(*store, store->Dump({block.Write(4)}));
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_THAT(result.failures[0].error.message, HasSubstr("No space left on device"));
  EXPECT_EQ(Files(".tmp"), 0u);
}

TEST_F(PosixStoreFaults, AFailedReadFailsItsPartOnly) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  EXPECT_TRUE(Hit(*store, block));
  // The slices are read together; what failed is read again, one by one.
  faults_->FailOn(FileCall::kRead, 2, 2, IoError("disk: read: Input/output error"));
  faults_->FailOn(FileCall::kRead, 4, 4, IoError("disk: read: Input/output error"));
  const AlignedBuffer buffer = MakeAligned(6 * 4096);
  std::vector<SliceRead> reads;
  for (std::uint32_t i = 0; i < 6; ++i) reads.push_back({block.id(), i, buffer.get() + i * 4096});
  const TaskResult result = Finish(*store, store->Load(reads));
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures[0].index, 1u);
  EXPECT_EQ(result.failures[0].error.code, ErrorCode::kIoError);
  EXPECT_EQ(result.bytes, 5u * 4096);
  EXPECT_EQ(store->Stats().quarantined_blocks, 0u);
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(PosixStoreFaults, WhatACrewReadWrongIsReadAgain) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  EXPECT_TRUE(Hit(*store, block));
  for (const std::uint64_t read : {1, 3}) {
    faults_->FlipBit(read, 5000);
    EXPECT_TRUE(LoadByCrew(*store, block).ok());
    faults_->FailOn(FileCall::kRead, read, read, IoError("disk: read: Input/output error"));
    EXPECT_TRUE(LoadByCrew(*store, block).ok());
    EXPECT_TRUE(faults_->struck());
    faults_->Clear();
  }
  faults_->FailOn(FileCall::kRead, 1, 0, IoError("disk: read: Input/output error"));
  EXPECT_EQ(LoadByCrew(*store, block).error().code, ErrorCode::kIoError);
  EXPECT_EQ(store->Stats().quarantined_blocks, 0u);
}

TEST_F(PosixStoreFaults, ShortTransfersAreGoneOnWith) {
  faults_->ShortTransfers(1000);
  const auto store = Open();
  const SampleBlock block(1);
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(PosixStoreFaults, ABitThatFlipsOnTheWayIsReadAgain) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  EXPECT_TRUE(Hit(*store, block));
  faults_->FlipBit(1, 123);
  EXPECT_TRUE(LoadPart(*store, block, 3).ok());
  EXPECT_EQ(store->Stats().quarantined_blocks, 0u);
}

TEST_F(PosixStoreFaults, ABlockThatCannotBeQuarantinedIsNotServedEither) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (entry.path().extension() == ".block") std::filesystem::resize_file(entry.path(), 5000);
  }
  faults_->FailOn(FileCall::kRename, 1, 0, IoError("rename: Read-only file system"));
  faults_->FailOn(FileCall::kRemove, 1, 0, IoError("remove: Read-only file system"));
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_EQ(store->Stats().quarantined_blocks, 1u);
  EXPECT_FALSE(LoadPart(*store, block, 0).ok());
  faults_->Clear();
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(PosixStoreFaults, AReadOnlyFolderIsRefusedClearly) {
  faults_->FailOn(FileCall::kLock, 1, 0,
                  IoError(folder_.path() + "/lock: open: Read-only file system"));
  EXPECT_THAT(Refusal(), AllOf(HasSubstr(folder_.path()), HasSubstr("Read-only file system")));
  faults_->Clear();
  faults_->FailOn(FileCall::kMakeFolder, 1, 0, IoError("create folder: Permission denied"));
  EXPECT_THAT(Refusal(), HasSubstr("Permission denied"));
}

TEST_F(PosixStoreFaults, AFailedRenameFailsTheBlock) {
  const auto store = Open();
  const SampleBlock block(1);
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  faults_->FailOn(FileCall::kRename, 1, 1, IoError("rename: Input/output error"));
  EXPECT_EQ(Finish(*store, store->Dump(block.Writes())).failures.size(), 6u);
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_EQ(Files(".tmp") + Files(".block"), 0u);
  store->Abandon(block.id());
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
}

TEST_F(PosixStoreFaults, WaitKeepsItsDeadlineOnASlowDisk) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  faults_->Delay(milliseconds(100));
  const AlignedBuffer buffer = MakeAligned(4096);
  const TaskId task = *store->Load({{block.id(), 0, buffer.get()}});
  EXPECT_FALSE(store->Poll(task));
  EXPECT_EQ(store->Stats().pending_tasks, 1u);
  const auto soon = std::chrono::steady_clock::now() + milliseconds(5);
  EXPECT_EQ(store->Wait(task, soon).error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(Finish(*store, task).failures, IsEmpty());
}

TEST_F(PosixStoreFaults, AHungDiskHangsNobody) {
  config_.timeout_ms = 50;
  config_.queue_bytes = 4096;
  auto store = Open();
  const SampleBlock block(1), late(2);
  DumpAll(*store, block);
  const AlignedBuffer buffer = MakeAligned(2 * 4096);
  const auto start = std::chrono::steady_clock::now();
  faults_->Delay(milliseconds(700));
  const TaskId task = *store->Load({{block.id(), 0, buffer.get()}});
  ASSERT_TRUE(*store->Begin(late.key(), {}));
  const TaskId first = *store->Dump({late.Write(0)});
  // No room in the queue, and none comes: the dump fails after the timeout.
  const TaskResult full = Finish(*store, store->Dump({late.Write(1)}));
  ASSERT_EQ(full.failures.size(), 1u);
  EXPECT_EQ(full.failures[0].error.code, ErrorCode::kDeadlineExceeded);
  store->Cancel(task);
  store->Cancel(first);
  EXPECT_FALSE(store->Wait(task, std::chrono::steady_clock::now()).ok());
  store.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(600));
  // Its threads still use the buffers; they must be gone before these are.
  std::this_thread::sleep_until(start + milliseconds(2500));
}

TEST_F(PosixStoreFaults, AHungDiskIsAMissAndNoBlockBegins) {
  config_.timeout_ms = 60;
  const SampleBlock block(1), late(2);
  DumpAll(*Open(), block);
  auto store = Open();
  faults_->Delay(milliseconds(500));  // of reads: heads are not at hand
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_EQ(store->Begin(block.key(), {}).error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(400));
  faults_->Clear();
  std::this_thread::sleep_until(start + milliseconds(1500));
  EXPECT_TRUE(Hit(*store, block));
  EXPECT_THAT(DumpAll(*store, late).failures, IsEmpty());
}

TEST_F(PosixStoreFaults, CancelDropsWhatIsQueued) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  faults_->Delay(milliseconds(20));
  std::vector<TaskId> tasks;
  const AlignedBuffer buffer = MakeAligned(100 * 4096);
  for (std::uint32_t i = 0; i < 100; ++i) {
    tasks.push_back(*store->Load({{block.id(), i % 6, buffer.get() + i * 4096}}));
  }
  const auto start = std::chrono::steady_clock::now();
  for (auto task = tasks.rbegin(); task != tasks.rend(); ++task) store->Cancel(*task);
  for (const TaskId task : tasks) Finish(*store, task);
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(500));
  std::fill_n(buffer.get(), 100 * 4096, std::byte{0});
  EXPECT_EQ(store->Stats().pending_tasks, 0u);
}

TEST_F(PosixStoreFaults, ACancelledDumpFailsItsBlocks) {
  const auto store = Open();
  std::vector<SampleBlock> samples;
  std::vector<SliceWrite> writes;
  for (std::uint32_t seed = 0; seed < 10; ++seed) samples.emplace_back(seed);
  for (const SampleBlock& block : samples) {
    ASSERT_TRUE(*store->Begin(block.key(), {}));
    for (const SliceWrite& write : block.Writes()) writes.push_back(write);
  }
  faults_->Delay(milliseconds(20));
  const TaskId dump = *store->Dump(writes);
  store->Cancel(dump);
  EXPECT_THAT(Finish(*store, dump).failures, Not(IsEmpty()));
  faults_->Clear();
  for (const auto end = Soon(); Files(".tmp") > 0 && std::chrono::steady_clock::now() < end;) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(Files(".tmp"), 0u);
  EXPECT_FALSE(Hit(*store, samples.back()));
  const TaskResult late = Finish(*store, store->Dump({samples.back().Write(0)}));
  ASSERT_EQ(late.failures.size(), 1u);
  for (const SampleBlock& block : samples) {
    store->Abandon(block.id());
    EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  }
}

TEST_F(PosixStoreFaults, DumpBlocksWhileTheQueueIsFull) {
  config_.queue_bytes = 6 * 4096;
  const auto store = Open();
  std::vector<SampleBlock> samples;
  for (std::uint32_t seed = 0; seed < 3; ++seed) samples.emplace_back(seed);
  for (const SampleBlock& block : samples) ASSERT_TRUE(*store->Begin(block.key(), {}));
  faults_->Delay(milliseconds(50));
  const TaskId first = *store->Dump(samples[0].Writes());
  EXPECT_FALSE(store->Poll(first));
  const TaskId second = *store->Dump(samples[1].Writes());
  EXPECT_TRUE(store->Poll(first));  // there was no room before
  const TaskId third = *store->Dump({samples[2].Write(0)});
  for (TaskId task : {first, second, third}) EXPECT_THAT(Finish(*store, task).failures, IsEmpty());
}

TEST_F(PosixStoreFaults, LoadsOvertakeDumps) {
  config_.io_threads = 1;
  const auto store = Open();
  const SampleBlock stored(1), written(2);
  DumpAll(*store, stored);
  ASSERT_TRUE(*store->Begin(written.key(), {}));
  faults_->Delay(milliseconds(20));
  std::vector<SliceWrite> writes = written.Writes();
  std::ranges::reverse(writes);  // so that each is a request of its own
  const TaskId dump = *store->Dump(writes);
  const AlignedBuffer buffer = MakeAligned(4096);
  EXPECT_THAT(Finish(*store, store->Load({{stored.id(), 0, buffer.get()}})).failures, IsEmpty());
  EXPECT_FALSE(store->Poll(dump));
  EXPECT_THAT(Finish(*store, dump).failures, IsEmpty());
}

TEST_F(PosixStoreFaults, AWaiterOfACancelledTaskIsTold) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  faults_->Delay(milliseconds(200));
  const AlignedBuffer buffer = MakeAligned(4096);
  const TaskId task = *store->Load({{block.id(), 0, buffer.get()}});
  auto waiting = std::async(std::launch::async, [&] { return store->Wait(task, Soon()); });
  store->Cancel(task);
  const Result<TaskResult> result = waiting.get();
  ASSERT_TRUE(result.ok()) << result.error().message;
  for (const PartFailure& part : result->failures) {
    EXPECT_EQ(part.error.code, ErrorCode::kCancelled);
  }
}

}  // namespace
}  // namespace esa::testing
