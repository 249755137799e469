#include "store/testing/scripted_store.h"

#include <utility>
#include <variant>
#include <vector>

#include "store/testing/store_fixture.h"

namespace esa::testing {

void Script::Hang() {
  std::lock_guard lock(mutex_);
  hangs_ = true;
  tasks_ = 0;
}

void Script::LetGo() {
  std::lock_guard lock(mutex_);
  hangs_ = false;
  changed_.notify_all();
}

void Script::FailDumps(std::optional<Error> error) {
  std::lock_guard lock(mutex_);
  dump_error_ = std::move(error);
}

void Script::FailLoads(std::optional<Error> error) {
  std::lock_guard lock(mutex_);
  load_error_ = std::move(error);
}

void Script::RefuseOptional() {
  std::lock_guard lock(mutex_);
  refuses_ = true;
}

std::uint64_t Script::reads(const BlockId& id, std::uint32_t part) const {
  std::lock_guard lock(mutex_);
  const auto found = reads_.find({id, part});
  return found == reads_.end() ? 0 : found->second;
}

std::uint64_t Script::writes(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  const auto found = writes_.find(id);
  return found == writes_.end() ? 0 : found->second;
}

std::uint64_t Script::loads() const {
  std::lock_guard lock(mutex_);
  return loads_;
}

bool Script::WaitForTasks(std::uint64_t tasks) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, Soon(), [&] { return tasks_ >= tasks; });
}

bool Script::WaitForEnd() const {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, Soon(), [&] { return ended_; });
}

class ScriptedStore final : public BlockStore {
 public:
  ScriptedStore(std::shared_ptr<Script> script, std::unique_ptr<BlockStore> inner)
      : script_(std::move(script)), inner_(std::move(inner)) {}

  ~ScriptedStore() override {
    std::unique_lock lock(script_->mutex_);
    script_->changed_.wait(lock, [&] { return !script_->hangs_; });
    script_->ended_ = true;
    script_->changed_.notify_all();
  }

  const BlockLayout& layout() const override { return inner_->layout(); }
  std::vector<bool> Lookup(std::span<const BlockKey> keys) override { return inner_->Lookup(keys); }
  std::size_t LookupPrefix(std::span<const BlockKey> keys) override {
    return inner_->LookupPrefix(keys);
  }
  Result<TaskId> Prefetch(std::span<const BlockId> ids) override { return inner_->Prefetch(ids); }
  Result<bool> Begin(const BlockKey& key, const BlockId& parent, Admission admission) override {
    {
      std::lock_guard lock(script_->mutex_);
      if (script_->refuses_ && admission == Admission::kOptional) return false;
    }
    return inner_->Begin(key, parent, admission);
  }
  void Abandon(const BlockId& id) override { inner_->Abandon(id); }
  void Pin(std::span<const BlockId> ids) override { inner_->Pin(ids); }
  void Unpin(std::span<const BlockId> ids) override { inner_->Unpin(ids); }
  Status Remove(const BlockId& id) override { return inner_->Remove(id); }
  StoreStats Stats() const override { return inner_->Stats(); }
  void Cancel(TaskId) override {}

  Result<TaskId> Dump(std::vector<SliceWrite> writes) override {
    // Copied before Dump returns, as promised, since the task may be taken up later.
    std::vector<std::vector<std::byte>> representations;
    const std::size_t bytes = layout().representation_bytes;
    std::lock_guard lock(script_->mutex_);
    for (SliceWrite& write : writes) {
      ++script_->writes_[write.id];
      representations.emplace_back(write.representation, write.representation + bytes);
      write.representation = representations.back().data();
    }
    return Add({std::move(writes), std::move(representations)}, script_->dump_error_);
  }

  Result<TaskId> Load(std::vector<SliceRead> reads) override {
    std::lock_guard lock(script_->mutex_);
    for (const SliceRead& read : reads) ++script_->reads_[{read.id, read.part}];
    ++script_->loads_;
    return Add({std::move(reads), {}}, script_->load_error_);
  }

  bool Poll(TaskId task) override {
    std::lock_guard lock(script_->mutex_);
    return !script_->hangs_ || !waiting_.contains(task);
  }

  Result<TaskResult> Wait(TaskId task, Deadline deadline) override {
    std::unique_lock lock(script_->mutex_);
    const auto found = waiting_.find(task);
    if (found == waiting_.end()) return NotFound("no such task");
    if (!script_->changed_.wait_until(lock, deadline, [&] { return !script_->hangs_; })) {
      return DeadlineExceeded("the scripted store hangs");
    }
    auto node = waiting_.extract(task);
    if (node.empty()) return NotFound("no such task");
    return Run(std::move(node.mapped()));
  }

 private:
  struct Job {
    std::variant<std::vector<SliceWrite>, std::vector<SliceRead>> parts;
    std::vector<std::vector<std::byte>> representations;
    std::optional<Error> error = {};
  };

  Result<TaskId> Add(Job job, const std::optional<Error>& error) {
    job.error = error;
    waiting_.emplace(next_, std::move(job));
    ++script_->tasks_;
    script_->changed_.notify_all();
    return next_++;
  }

  Result<TaskResult> Run(Job job) {
    const auto run = [&](auto& parts, auto submit) -> Result<TaskResult> {
      TaskResult result;
      if (!job.error) return inner_->Wait(*submit(std::move(parts)), Soon());
      for (std::size_t i = 0; i < parts.size(); ++i) result.failures.push_back({i, *job.error});
      return result;
    };
    if (auto* writes = std::get_if<std::vector<SliceWrite>>(&job.parts)) {
      return run(*writes, [&](auto parts) { return inner_->Dump(std::move(parts)); });
    }
    return run(std::get<std::vector<SliceRead>>(job.parts),
               [&](auto parts) { return inner_->Load(std::move(parts)); });
  }

  const std::shared_ptr<Script> script_;  // its mutex guards all below
  std::unique_ptr<BlockStore> inner_;
  std::map<TaskId, Job> waiting_;
  TaskId next_ = 1;
};

std::unique_ptr<BlockStore> MakeScriptedStore(std::shared_ptr<Script> script,
                                              std::unique_ptr<BlockStore> inner) {
  return std::make_unique<ScriptedStore>(std::move(script), std::move(inner));
}

}  // namespace esa::testing
