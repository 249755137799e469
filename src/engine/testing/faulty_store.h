// A block store over another one that fails, stalls or refuses when a test says so.
//
// Threading: that of the store inside; the switches are set while no call is under way.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "esa/block_store.h"

namespace esa {

class FaultyStore final : public BlockStore {
 public:
  explicit FaultyStore(std::unique_ptr<BlockStore> inner) : inner_(std::move(inner)) {}

  bool fail_loads = false;  // every part, as a disk would that died after blocks were written
  bool fail_representations = false;
  bool refuse_loads = false;  // no task at all
  bool fail_dumps = false;    // every part
  bool stay_pending = false;  // tasks have not ended by themselves; Wait still ends them
  bool hang = false;          // Wait reaches its deadline, whatever it is

  // What was asked for so far.
  const std::vector<SliceRead>& reads() const { return reads_; }
  int loads() const { return loads_; }  // tasks
  int cancelled_tasks() const { return cancelled_tasks_; }

  const BlockLayout& layout() const override { return inner_->layout(); }
  std::vector<bool> Lookup(std::span<const BlockKey> keys) override { return inner_->Lookup(keys); }
  std::size_t LookupPrefix(std::span<const BlockKey> keys) override {
    return inner_->LookupPrefix(keys);
  }
  Result<TaskId> Prefetch(std::span<const BlockId> ids) override { return inner_->Prefetch(ids); }
  Result<bool> Begin(const BlockKey& key, const BlockId& parent,
                     Admission admission = Admission::kRequired) override {
    return inner_->Begin(key, parent, admission);
  }
  Result<TaskId> Dump(std::vector<SliceWrite> writes) override {
    if (fail_dumps) {
      for (SliceWrite& write : writes) write.id.bytes.fill(kNoBlock);
    }
    return inner_->Dump(std::move(writes));
  }
  void Abandon(const BlockId& id) override { inner_->Abandon(id); }
  Result<TaskId> Load(std::vector<SliceRead> reads) override {
    ++loads_;
    reads_.insert(reads_.end(), reads.begin(), reads.end());
    if (refuse_loads) return IoError("no loads today");
    for (SliceRead& read : reads) {
      const bool fails = fail_loads || (fail_representations && read.part == kRepresentations);
      if (fails) read.id.bytes.fill(kNoBlock);
    }
    return inner_->Load(std::move(reads));
  }
  bool Poll(TaskId task) override { return !stay_pending && inner_->Poll(task); }
  Result<TaskResult> Wait(TaskId task, Deadline deadline) override {
    if (hang) return Error{ErrorCode::kDeadlineExceeded, "the store hangs"};
    return inner_->Wait(task, deadline);
  }
  void Cancel(TaskId task) override {
    ++cancelled_tasks_;
    inner_->Cancel(task);
  }
  void Pin(std::span<const BlockId> ids) override { inner_->Pin(ids); }
  void Unpin(std::span<const BlockId> ids) override { inner_->Unpin(ids); }
  Status Remove(const BlockId& id) override { return inner_->Remove(id); }
  StoreStats Stats() const override { return inner_->Stats(); }

 private:
  static constexpr std::uint8_t kNoBlock = 0xee;  // an id of these bytes is not stored

  std::unique_ptr<BlockStore> inner_;
  std::vector<SliceRead> reads_;
  int loads_ = 0;
  int cancelled_tasks_ = 0;
};

}  // namespace esa
