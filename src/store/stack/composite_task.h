// Tasks of a stack of tiers: each follows tasks of the tiers and copies under way.
//
// A tier tells no one when a task of its has ended, so whoever waits for or polls a composite task
// takes it from step to step: one thread at a time leads, others that wait for the same task
// follow. No step waits for a thread of the stack's own. Threading: CompositeTasks from any thread;
// the hooks of a CompositeTask are called by its leader.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "esa/block_store.h"
#include "store/stack/block_mover.h"

namespace esa {

class CompositeTask {
 public:
  virtual ~CompositeTask() = default;

  // Gives the tiers their first tasks; before the task is in a table.
  virtual void Submit() = 0;

 protected:
  // What a tier does of the task; the meaning of `stage` is the task's.
  struct Step {
    int stage = 0;
    BlockStore* store = nullptr;
    TaskId id = 0;
    std::vector<std::size_t> parts;  // of the composite task, by the index in the tier's
  };

  // A step has ended; an error of the step is one of all its parts.
  virtual void Ended(const Step& step, const Result<TaskResult>& result) = 0;

  // The block of an Await is not under way any more.
  virtual void Arrived(std::vector<std::size_t> parts) = 0;

  // Some parts failed: for the counters.
  virtual void CountFailures(const Error& error, std::size_t parts) = 0;

  void Add(int stage, BlockStore& store, Result<TaskId> task, std::vector<std::size_t> parts);
  void Await(const BlockId& id, std::vector<std::size_t> parts);
  void Succeed(std::uint64_t bytes);
  void Fail(std::size_t part, const Error& error);
  bool cancelled() const { return cancelled_; }

  // By the index in step.parts; null where the part succeeded.
  static std::vector<const Error*> ErrorsOf(const Step& step, const Result<TaskResult>& result);

 private:
  friend class CompositeTasks;

  struct Awaited {
    BlockId id;
    std::vector<std::size_t> parts;
  };

  bool EndedLocked() const { return steps_.empty() && awaited_.empty() && !led_; }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Step> steps_;               // guarded by mutex_
  std::deque<Awaited> awaited_;          // guarded by mutex_
  TaskResult result_;                    // guarded by mutex_
  bool led_ = false;                     // guarded by mutex_
  std::atomic<bool> cancelled_ = false;  // set under mutex_
};

class CompositeTasks {
 public:
  explicit CompositeTasks(BlockMover& mover) : mover_(mover) {}

  TaskId Start(std::shared_ptr<CompositeTask> task);

  // As those of BlockStore.
  bool Poll(TaskId id);
  Result<TaskResult> Wait(TaskId id, BlockStore::Deadline deadline);
  void Cancel(TaskId id);

  // Returns when all tasks started before have ended, and forgets none. False: the deadline passed.
  bool Settle(BlockStore::Deadline deadline);
  void CancelAll();

  std::uint64_t Pending() const;  // tasks that have not ended

 private:
  using TaskPtr = std::shared_ptr<CompositeTask>;

  TaskPtr Find(TaskId id) const;
  TaskPtr Forget(TaskId id);
  std::vector<TaskPtr> All() const;

  // Until the task has ended. False: the deadline passed.
  bool Follow(CompositeTask& task, BlockStore::Deadline deadline);
  // Of the leader. False: the deadline passed, or nothing has ended yet.
  bool WaitOneStep(CompositeTask& task, BlockStore::Deadline deadline);
  bool PollSteps(CompositeTask& task);
  static void EndStep(CompositeTask& task, TaskId id, BlockStore* store,
                      const Result<TaskResult>& result);
  static void EndAwaited(CompositeTask& task, const BlockId& id);
  bool PollTask(CompositeTask& task);
  void CancelTask(CompositeTask& task);

  BlockMover& mover_;
  mutable std::mutex mutex_;
  TaskId next_ = 1;                            // guarded by mutex_
  std::unordered_map<TaskId, TaskPtr> tasks_;  // guarded by mutex_
};

}  // namespace esa
