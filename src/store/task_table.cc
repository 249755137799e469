#include "store/task_table.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"

namespace esa {

bool Task::Enter() {
  std::lock_guard lock(mutex_);
  if (cancelled_) return false;
  ++running_jobs_;
  return true;
}

void Task::Leave() {
  std::lock_guard lock(mutex_);
  ESA_CHECK(running_jobs_ > 0);
  --running_jobs_;
  Notify();
}

void Task::Succeed(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  ESA_CHECK(open_parts_ > 0);
  --open_parts_;
  result_.bytes += bytes;
  Notify();
}

void Task::Fail(std::size_t part, Error error) {
  std::lock_guard lock(mutex_);
  ESA_CHECK(open_parts_ > 0);
  --open_parts_;
  result_.failures.push_back({part, std::move(error)});
  Notify();
}

bool Task::ended() const {
  std::lock_guard lock(mutex_);
  return EndedLocked();
}

void Task::Notify() {
  if (EndedLocked()) changed_.notify_all();
}

TaskTable::Entry TaskTable::Add(std::size_t parts) {
  auto task = std::make_shared<Task>(parts);
  std::lock_guard lock(mutex_);
  const TaskId id = next_++;
  tasks_.emplace(id, task);
  return {id, std::move(task)};
}

std::shared_ptr<Task> TaskTable::Find(TaskId id) const {
  std::lock_guard lock(mutex_);
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : found->second;
}

std::shared_ptr<Task> TaskTable::Forget(TaskId id) {
  std::lock_guard lock(mutex_);
  auto node = tasks_.extract(id);
  return node.empty() ? nullptr : std::move(node.mapped());
}

bool TaskTable::Poll(TaskId id) const {
  const std::shared_ptr<Task> task = Find(id);
  return task == nullptr || task->ended();
}

Result<TaskResult> TaskTable::Wait(TaskId id, BlockStore::Deadline deadline) {
  const Error unknown = NotFound("store task " + std::to_string(id) + " is not known");
  const std::shared_ptr<Task> task = Find(id);
  if (task == nullptr) return unknown;
  std::unique_lock lock(task->mutex_);
  if (!task->changed_.wait_until(lock, deadline, [&] { return task->EndedLocked(); })) {
    return DeadlineExceeded("store task " + std::to_string(id) + " is still under way: " +
                            std::to_string(task->open_parts_) + " parts to go");
  }
  // Of several waiters one gets the result.
  if (Forget(id) == nullptr) return unknown;
  std::sort(task->result_.failures.begin(), task->result_.failures.end(),
            [](const PartFailure& a, const PartFailure& b) { return a.index < b.index; });
  return std::move(task->result_);
}

void TaskTable::Cancel(TaskId id, const std::function<void(TaskId)>& drop_queued) {
  const std::shared_ptr<Task> task = Find(id);
  if (task == nullptr) return;
  {
    std::lock_guard lock(task->mutex_);
    task->cancelled_ = true;
  }
  drop_queued(id);
}

void TaskTable::CancelAll(const std::function<void(TaskId)>& drop_queued) {
  std::vector<TaskId> ids;
  {
    std::lock_guard lock(mutex_);
    for (const auto& entry : tasks_) ids.push_back(entry.first);
  }
  for (TaskId id : ids) Cancel(id, drop_queued);
}

std::uint64_t TaskTable::Pending() const {
  std::vector<std::shared_ptr<Task>> tasks;
  {
    std::lock_guard lock(mutex_);
    for (const auto& entry : tasks_) tasks.push_back(entry.second);
  }
  return static_cast<std::uint64_t>(
      std::count_if(tasks.begin(), tasks.end(), [](const auto& task) { return !task->ended(); }));
}

}  // namespace esa
