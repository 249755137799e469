// The asynchronous tasks of a store: what Poll, Wait and Cancel ask, whoever moves the bytes.
//
// A Task is shared by the table, until Wait forgets it, and by the jobs that work on it.
// Thread-safe.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "esa/block_store.h"

namespace esa {

class Task {
 public:
  explicit Task(std::size_t parts) : open_parts_(parts) {}

  // Between Enter and Leave a job may touch the task's buffers. False: cancelled, do not.
  bool Enter();
  void Leave();

  // Each part ends once, by one of these.
  void Succeed(std::uint64_t bytes);
  void Fail(std::size_t part, Error error);

  bool ended() const;

 private:
  friend class TaskTable;
  bool EndedLocked() const { return open_parts_ == 0 && running_jobs_ == 0; }
  void Notify();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t open_parts_;        // guarded by mutex_
  std::size_t running_jobs_ = 0;  // guarded by mutex_
  bool cancelled_ = false;        // guarded by mutex_
  TaskResult result_;             // guarded by mutex_
};

class TaskTable {
 public:
  struct Entry {
    TaskId id = 0;
    std::shared_ptr<Task> task;
  };

  // A task of `parts` parts; none: it has ended.
  Entry Add(std::size_t parts);

  bool Poll(TaskId id) const;
  Result<TaskResult> Wait(TaskId id, BlockStore::Deadline deadline);

  // Lets no further job enter the task, and has `drop_queued` end what no job took up yet.
  void Cancel(TaskId id, const std::function<void(TaskId)>& drop_queued);
  void CancelAll(const std::function<void(TaskId)>& drop_queued);

  std::uint64_t Pending() const;  // tasks that have not ended

 private:
  std::shared_ptr<Task> Find(TaskId id) const;
  std::shared_ptr<Task> Forget(TaskId id);

  mutable std::mutex mutex_;
  TaskId next_ = 1;                                          // guarded by mutex_
  std::unordered_map<TaskId, std::shared_ptr<Task>> tasks_;  // guarded by mutex_
};

}  // namespace esa
