#include "store/stack/composite_task.h"

#include <algorithm>
#include <string>
#include <utility>

namespace esa {

void CompositeTask::Add(int stage, BlockStore& store, Result<TaskId> task,
                        std::vector<std::size_t> parts) {
  Step step{.stage = stage, .store = &store, .id = 0, .parts = std::move(parts)};
  if (!task) return Ended(step, task.error());
  step.id = *task;
  bool cancel = false;
  {
    std::lock_guard lock(mutex_);
    steps_.push_back(std::move(step));
    cancel = cancelled_;
  }
  if (cancel) store.Cancel(*task);
}

void CompositeTask::Await(const BlockId& id, std::vector<std::size_t> parts) {
  std::lock_guard lock(mutex_);
  awaited_.push_back({id, std::move(parts)});
}

void CompositeTask::Succeed(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  result_.bytes += bytes;
}

void CompositeTask::Fail(std::size_t part, const Error& error) {
  CountFailures(error, 1);
  std::lock_guard lock(mutex_);
  result_.failures.push_back({part, error});
}

std::vector<const Error*> CompositeTask::ErrorsOf(const Step& step,
                                                  const Result<TaskResult>& result) {
  if (!result) return std::vector<const Error*>(step.parts.size(), &result.error());
  std::vector<const Error*> errors(step.parts.size());
  for (const PartFailure& failure : (*result).failures) errors[failure.index] = &failure.error;
  return errors;
}

TaskId CompositeTasks::Start(TaskPtr task) {
  task->Submit();
  TaskId id = 0;
  {
    std::lock_guard lock(mutex_);
    id = next_++;
    tasks_.emplace(id, task);
  }
  // What a tier has done at once is taken on at once.
  PollTask(*task);
  return id;
}

CompositeTasks::TaskPtr CompositeTasks::Find(TaskId id) const {
  std::lock_guard lock(mutex_);
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : found->second;
}

CompositeTasks::TaskPtr CompositeTasks::Forget(TaskId id) {
  std::lock_guard lock(mutex_);
  auto node = tasks_.extract(id);
  return node.empty() ? nullptr : std::move(node.mapped());
}

std::vector<CompositeTasks::TaskPtr> CompositeTasks::All() const {
  std::lock_guard lock(mutex_);
  std::vector<TaskPtr> all;
  for (const auto& entry : tasks_) all.push_back(entry.second);
  return all;
}

void CompositeTasks::EndStep(CompositeTask& task, TaskId id, BlockStore* store,
                             const Result<TaskResult>& result) {
  CompositeTask::Step step;
  {
    std::lock_guard lock(task.mutex_);
    const auto at = std::ranges::find_if(
        task.steps_, [&](const auto& s) { return s.id == id && s.store == store; });
    step = std::move(*at);
    task.steps_.erase(at);
  }
  task.Ended(step, result);
}

void CompositeTasks::EndAwaited(CompositeTask& task, const BlockId& id) {
  std::vector<std::size_t> parts;
  {
    std::lock_guard lock(task.mutex_);
    const auto at =
        std::ranges::find_if(task.awaited_, [&](const auto& awaited) { return awaited.id == id; });
    if (at == task.awaited_.end()) return;  // cancelled
    parts = std::move(at->parts);
    task.awaited_.erase(at);
  }
  task.Arrived(std::move(parts));
}

bool CompositeTasks::WaitOneStep(CompositeTask& task, BlockStore::Deadline deadline) {
  BlockStore* store = nullptr;
  TaskId step = 0;
  BlockId awaited;
  {
    std::lock_guard lock(task.mutex_);
    if (!task.steps_.empty()) {
      store = task.steps_.front().store;
      step = task.steps_.front().id;
    } else if (!task.awaited_.empty()) {
      awaited = task.awaited_.front().id;
    } else {
      return true;
    }
  }
  if (store == nullptr) {
    if (!mover_.WaitUp(awaited, deadline, task.cancelled_)) return false;
    EndAwaited(task, awaited);
    return true;
  }
  const Result<TaskResult> result = store->Wait(step, deadline);
  if (!result && result.error().code == ErrorCode::kDeadlineExceeded) return false;
  EndStep(task, step, store, result);
  return true;
}

bool CompositeTasks::PollSteps(CompositeTask& task) {
  std::vector<std::pair<BlockStore*, TaskId>> steps;
  std::vector<BlockId> awaited;
  {
    std::lock_guard lock(task.mutex_);
    for (const auto& step : task.steps_) steps.emplace_back(step.store, step.id);
    for (const auto& block : task.awaited_) awaited.push_back(block.id);
  }
  bool progress = false;
  for (const auto& [store, id] : steps) {
    if (!store->Poll(id)) continue;
    EndStep(task, id, store, store->Wait(id, std::chrono::steady_clock::now()));
    progress = true;
  }
  for (const BlockId& id : awaited) {
    if (mover_.IsMovingUp(id)) continue;
    EndAwaited(task, id);
    progress = true;
  }
  return progress;
}

bool CompositeTasks::PollTask(CompositeTask& task) {
  {
    std::lock_guard lock(task.mutex_);
    if (task.led_) return false;
    if (task.EndedLocked()) return true;
    task.led_ = true;
  }
  while (PollSteps(task)) {
  }
  std::lock_guard lock(task.mutex_);
  task.led_ = false;
  task.changed_.notify_all();
  return task.EndedLocked();
}

bool CompositeTasks::Follow(CompositeTask& task, BlockStore::Deadline deadline) {
  std::unique_lock lock(task.mutex_);
  for (;;) {
    if (task.EndedLocked()) return true;
    if (task.led_) {
      if (!task.changed_.wait_until(lock, deadline, [&] { return !task.led_; })) return false;
      continue;
    }
    task.led_ = true;
    lock.unlock();
    const bool in_time = WaitOneStep(task, deadline);
    lock.lock();
    task.led_ = false;
    task.changed_.notify_all();
    if (!in_time && !task.EndedLocked()) return false;
  }
}

bool CompositeTasks::Poll(TaskId id) {
  const TaskPtr task = Find(id);
  return task == nullptr || PollTask(*task);
}

Result<TaskResult> CompositeTasks::Wait(TaskId id, BlockStore::Deadline deadline) {
  const Error unknown = NotFound("store task " + std::to_string(id) + " is not known");
  const TaskPtr task = Find(id);
  if (task == nullptr) return unknown;
  if (!Follow(*task, deadline)) {
    return DeadlineExceeded("store task " + std::to_string(id) + " is still under way");
  }
  // Of several waiters one gets the result.
  if (Forget(id) == nullptr) return unknown;
  std::lock_guard lock(task->mutex_);
  std::ranges::sort(task->result_.failures, {}, &PartFailure::index);
  return std::move(task->result_);
}

void CompositeTasks::Cancel(TaskId id) {
  if (const TaskPtr task = Find(id)) CancelTask(*task);
}

void CompositeTasks::CancelTask(CompositeTask& task) {
  const Error error = Cancelled("the task was cancelled");
  std::vector<std::pair<BlockStore*, TaskId>> steps;
  std::size_t dropped = 0;
  {
    std::lock_guard lock(task.mutex_);
    task.cancelled_ = true;
    for (const auto& step : task.steps_) steps.emplace_back(step.store, step.id);
    for (const auto& awaited : task.awaited_) {
      dropped += awaited.parts.size();
      for (const std::size_t part : awaited.parts) task.result_.failures.push_back({part, error});
    }
    task.awaited_.clear();
  }
  if (dropped > 0) task.CountFailures(error, dropped);
  for (const auto& [store, id] : steps) store->Cancel(id);
  mover_.Wake();
}

void CompositeTasks::CancelAll() {
  for (const TaskPtr& task : All()) CancelTask(*task);
}

bool CompositeTasks::Settle(BlockStore::Deadline deadline) {
  bool settled = true;
  for (const TaskPtr& task : All()) settled &= Follow(*task, deadline);
  return settled;
}

std::uint64_t CompositeTasks::Pending() const {
  std::uint64_t pending = 0;
  for (const TaskPtr& task : All()) {
    std::lock_guard lock(task->mutex_);
    pending += task->EndedLocked() ? 0 : 1;
  }
  return pending;
}

}  // namespace esa
