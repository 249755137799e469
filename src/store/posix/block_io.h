// Moves parts of blocks between memory and the folders of a posix store: what tasks are made of.
//
// Dump and Load cut a task into runs, slices that follow each other in one file, and each run is
// one request to the disk. Everything that threads of the pool touch is in here, so that it can
// outlive its store when a disk hangs.
// Threading: all methods from any thread, but OpenFolders before all others.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "store/io_pool.h"
#include "store/posix/block_reader.h"
#include "store/posix/block_writer.h"
#include "store/posix/folder.h"
#include "store/posix/recency_writer.h"
#include "store/task_table.h"

namespace esa {

class BlockIo {
 public:
  // cipher: encrypts the blocks; null: they are plain.
  BlockIo(std::unique_ptr<FileSystem> files, std::unique_ptr<const BlockCipher> cipher,
          const StoreConfig& config, const BlockLayout& layout);

  Status OpenFolders(const StoreConfig& config);

  // Ends all tasks and threads and closes the folders. False: that hangs in the disk, and uses this
  // object for as long as it does.
  bool Stop(std::chrono::milliseconds patience);

  Folder& FolderOf(const BlockId& id) const;

  // Verified heads, by the ids; those that are not at hand are read together, by the pool. A
  // corrupt block goes to quarantine, a vanished one is forgotten. kDeadlineExceeded: as InTime.
  using Head = Result<std::shared_ptr<const BlockHead>>;
  std::vector<Head> HeadsOf(std::span<const BlockId> ids);
  Head HeadOf(const BlockId& id);  // the same, of one, on this thread

  // Makes a call on a thread of its own kind, so that a disk that hangs holds up the caller no
  // longer than the timeout, and after that hardly, until it answers again: kDeadlineExceeded. The
  // call must own all it uses, or have it of this object. T: a Result or Status.
  template <class T>
  T InTime(std::function<T()> call) {
    return Await<T>(On<T>(&calls_, std::move(call)));
  }

  TaskId Dump(const std::vector<SliceWrite>& writes);
  // crew: loads what is in the page cache; null: the pool does that too.
  TaskId Load(const std::vector<SliceRead>& reads, const Crew* crew);
  TaskId Prefetch(std::span<const BlockId> ids);
  void Cancel(TaskId task);

  void AddTo(StoreStats* stats) const;

  TaskTable& tasks() { return tasks_; }
  BlockReader& reader() { return reader_; }
  BlockWriter& writer() { return *writer_; }
  RegisteredMemory& memory() { return memory_; }
  const BlockAreas& areas() const { return areas_; }

 private:
  using Clock = std::chrono::steady_clock;

  // A run of a task, shared by the calls that one job is made of.
  struct Writing {
    std::shared_ptr<Task> task;
    std::vector<std::size_t> parts = {};  // of the task, by slice
    SliceRun run = {};
    Clock::time_point start = {};
  };
  struct Reading {
    std::shared_ptr<Task> task;
    std::vector<std::size_t> parts = {};
    PartRun run = {};
    Clock::time_point start = {};
  };

  template <class T>
  static std::future<T> On(IoPool* pool, std::function<T()> call) {
    auto result = std::make_shared<std::promise<T>>();
    std::future<T> future = result->get_future();
    const auto run = [result, call = std::move(call)] { result->set_value(call()); };
    pool->Submit(IoPool::Lane::kLoad, {.run = run, .drop = run});
    return future;
  }
  template <class T>
  T Await(std::future<T> future) {
    const bool ended =
        future.wait_for(hangs_ ? kHungPatience : timeout_) == std::future_status::ready;
    hangs_ = !ended;
    if (ended) return future.get();
    return DeadlineExceeded("the disk of " + folders_.front()->path() + " does not answer");
  }

  static constexpr std::chrono::milliseconds kHungPatience{50};

  std::unique_ptr<IoQueue> MakeQueue();
  void Submit(TaskId task, std::shared_ptr<Writing> writing);
  bool Begin(Writing& writing, IoRequest* request);
  bool BeginFront(Writing& writing, IoRequest* request);
  bool Begin(Reading& reading, IoRequest* request);
  void LoadCached(const Crew& crew, std::vector<std::shared_ptr<Reading>>* runs);
  bool ReadCached(const PartRun& run, const IoRequest& request) const;
  void End(const std::shared_ptr<Writing>& writing, const IoRequest& request);
  void End(Reading& reading, const IoRequest& request);
  void Fail(Writing& writing, const Error& error);
  void FailBlock(Writing& writing, const Error& error);
  void Drop(Writing& writing);
  void Drop(Reading& reading);
  void EndPart(Reading& reading, std::size_t index, const Status& status);
  void FailPart(Task& task, std::size_t part, const Error& error);
  Status CheckRead(const SliceRead& read) const;
  Status ReadAgain(const BlockId& id, std::uint32_t part, std::byte* destination);
  void Quarantine(const BlockId& id);

  template <class Change>
  void Count(Change change) {
    std::lock_guard lock(counters_mutex_);
    change(counters_);
  }

  const BlockLayout layout_;
  const std::unique_ptr<const BlockCipher> cipher_;
  const BlockAreas areas_;
  const IoEngine engine_;
  const int depth_;
  const std::chrono::milliseconds timeout_;
  std::unique_ptr<FileSystem> files_;
  BlockReader reader_;
  std::vector<std::unique_ptr<Folder>> folders_;  // fixed once open
  std::unique_ptr<RecencyWriter> recency_writer_;
  std::unique_ptr<BlockWriter> writer_;  // after the folders its blocks lie in
  TaskTable tasks_;
  RegisteredMemory memory_;
  std::atomic<std::uint64_t> uring_threads_{0};
  std::atomic<bool> hangs_{false};  // the latest call in time was not
  mutable std::mutex counters_mutex_;
  StoreStats counters_;  // guarded by counters_mutex_; what the folders do not know
  IoPool pool_;          // these last: their threads use all of the above
  IoPool calls_;         // one thread, that no request under way holds up
};

}  // namespace esa
