#include "engine/attention_step.h"

#include <utility>

#include "base/check.h"
#include "engine/stopwatch.h"

namespace esa {
namespace {

bool SortedUniqueBelow(std::span<const BlockIndex> blocks, std::int64_t end) {
  BlockIndex previous = -1;
  for (BlockIndex block : blocks) {
    if (block <= previous || block >= end) return false;
    previous = block;
  }
  return true;
}

}  // namespace

void EngineStep::Attend(std::span<const BlockIndex> blocks, int kv_head) {
  ESA_CHECK(SortedUniqueBelow(blocks, shape_.sealed_blocks));
  selections_.resize(static_cast<std::size_t>(shape_.num_kv_heads));
  for (int head = 0; head < shape_.num_kv_heads; ++head) {
    if (kv_head != kAllHeads && kv_head != head) continue;
    selections_[static_cast<std::size_t>(head)].assign(blocks.begin(), blocks.end());
  }
  if (static_cast<std::int64_t>(blocks.size()) < shape_.sealed_blocks) {
    sequence_.stats.sparse = true;
  }
}

RetrievalTicket EngineStep::StartRetrieval(RetrievalRequest request) {
  return core_.retrieval->Start(std::move(request), representations());
}

std::vector<BlockIndex> EngineStep::Collect(RetrievalTicket ticket) {
  const Stopwatch watch;
  std::vector<BlockIndex> blocks = core_.retrieval->Collect(ticket);
  if (step_ > 0) sequence_.stats.retrieval_stall_seconds += watch.Seconds();
  return blocks;
}

void EngineStep::StartLoad(std::span<const BlockIndex> blocks, int kv_head) {
  ESA_CHECK(SortedUniqueBelow(blocks, shape_.sealed_blocks));
  const std::int64_t resident = core_.working_set->Keep(sequence_.cache, layer_, kv_head, blocks);
  if (step_ == 0) return;
  const int heads = kv_head == kAllHeads ? shape_.num_kv_heads : 1;
  ++sequence_.stats.selections;
  sequence_.stats.selected_blocks += static_cast<std::int64_t>(blocks.size()) * heads;
  sequence_.stats.reused_blocks += resident;
}

std::vector<BlockIndex> EngineStep::WaitLoad() {
  const Stopwatch watch;
  std::vector<BlockIndex> failed = core_.working_set->FinishLoads(sequence_.cache, layer_);
  sequence_.stats.load_stall_seconds += watch.Seconds();
  if (!failed.empty()) sequence_.stats.degraded = true;
  return failed;
}

}  // namespace esa
