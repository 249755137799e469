// The tasks of a stack of tiers: what Load, Dump and Prefetch do, from step to step.
//
// Each may outlive the call that made it, and the stack outlives all of them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "esa/block_store.h"
#include "store/stack/composite_task.h"
#include "store/stack/tiers.h"

namespace esa {

// Parts of blocks that are moved up wait for that; all others are asked of the upper tier, and what
// it has not of the lower, straight into the caller's buffers.
class LoadTask final : public CompositeTask {
 public:
  LoadTask(Tiers& tiers, std::vector<SliceRead> reads);
  void Submit() override;

 protected:
  void Ended(const Step& step, const Result<TaskResult>& result) override;
  void Arrived(std::vector<std::size_t> parts) override;
  void CountFailures(const Error& error, std::size_t parts) override;

 private:
  void Ask(int stage, std::vector<std::size_t> parts);
  void Took(const Step& step, const SliceRead& read);

  Tiers& tiers_;
  const std::vector<SliceRead> reads_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// By DumpPath. What the upper tier refuses from a block's first slice on goes through.
class DumpTask final : public CompositeTask {
 public:
  // Copies the representations.
  DumpTask(Tiers& tiers, std::vector<SliceWrite> writes);
  void Submit() override;

 protected:
  void Ended(const Step& step, const Result<TaskResult>& result) override;
  void Arrived(std::vector<std::size_t>) override {}
  void CountFailures(const Error& error, std::size_t parts) override;

 private:
  void Ask(int stage, std::vector<std::size_t> parts);
  void EndedBehind(const Step& step, const std::vector<const Error*>& errors);
  void EndedThrough(const Step& step, const std::vector<const Error*>& errors);
  void EndedCopy(const Step& step, const std::vector<const Error*>& errors);
  void LoseUpper(const BlockId& id);
  void Took();
  void CountCommit();

  Tiers& tiers_;
  std::vector<std::byte> representations_;  // [num_writes, representation_bytes]
  std::vector<SliceWrite> writes_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Ends when the blocks are up, or known not to be. What the mover does not take, the lower tier
// may bring nearer its own way.
class PrefetchTask final : public CompositeTask {
 public:
  PrefetchTask(Tiers& tiers, std::span<const BlockId> ids, std::size_t max_blocks);
  void Submit() override;

 protected:
  void Ended(const Step&, const Result<TaskResult>&) override {}
  void Arrived(std::vector<std::size_t>) override {}
  void CountFailures(const Error&, std::size_t) override {}

 private:
  Tiers& tiers_;
  const std::vector<BlockId> ids_;
  const std::size_t max_blocks_;
};

}  // namespace esa
