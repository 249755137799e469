// An engine on a tiny random model of tests/golden, for tests: logits of every step, any store.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/decode.h"
#include "engine/prefill.h"

namespace esa {

// A store whose loads fail, as a disk would that died after the blocks were written.
class FailingLoads final : public BlockStore {
 public:
  explicit FailingLoads(std::unique_ptr<BlockStore> inner) : inner_(std::move(inner)) {}

  bool failing = false;

  const BlockLayout& layout() const override { return inner_->layout(); }
  std::vector<bool> Lookup(std::span<const BlockKey> keys) override { return inner_->Lookup(keys); }
  std::size_t LookupPrefix(std::span<const BlockKey> keys) override {
    return inner_->LookupPrefix(keys);
  }
  Result<TaskId> Prefetch(std::span<const BlockId> ids) override { return inner_->Prefetch(ids); }
  Result<bool> Begin(const BlockKey& key, const BlockId& parent) override {
    return inner_->Begin(key, parent);
  }
  Result<TaskId> Dump(std::vector<SliceWrite> writes) override {
    return inner_->Dump(std::move(writes));
  }
  void Abandon(const BlockId& id) override { inner_->Abandon(id); }
  Result<TaskId> Load(std::vector<SliceRead> reads) override {
    if (failing) {
      for (SliceRead& read : reads) read.id.bytes.fill(0xee);
    }
    return inner_->Load(std::move(reads));
  }
  bool Poll(TaskId task) override { return inner_->Poll(task); }
  Result<TaskResult> Wait(TaskId task, Deadline deadline) override {
    return inner_->Wait(task, deadline);
  }
  void Cancel(TaskId task) override { inner_->Cancel(task); }
  void Pin(std::span<const BlockId> ids) override { inner_->Pin(ids); }
  void Unpin(std::span<const BlockId> ids) override { inner_->Unpin(ids); }
  Status Remove(const BlockId& id) override { return inner_->Remove(id); }
  StoreStats Stats() const override { return inner_->Stats(); }

 private:
  std::unique_ptr<BlockStore> inner_;
};

struct EngineSetup {
  std::string algorithm = "dense";
  Options options = {};
  std::int64_t pool_blocks = 1000;  // of all layers and heads
  std::string store = {};                // a backend; empty: none
  std::string folder = {};               // of a posix store
  bool fail_loads = false;          // once prefill is done
};

struct EngineRun {
  std::vector<std::vector<float>> logits = {};  // after the prompt and after each decode step
  RequestStats stats = {};
  std::int64_t slots_left = 0;  // in use after the sequence was finished
  std::int64_t peak_slots = 0;
};

inline constexpr int kTestBlockTokens = 16;

// Prompt tokens drawn from a fixed stream; then `steps` greedy decode steps.
Result<EngineRun> RunEngine(const EngineSetup& setup, std::int64_t prompt_tokens, int steps);

}  // namespace esa
