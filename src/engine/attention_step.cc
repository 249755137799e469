#include "engine/attention_step.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/stopwatch.h"
#include "ops/attention.h"

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

// Log weights of one KV head's blocks into shares of the whole.
void SoftMax(std::span<float> log_weights) {
  const float largest = *std::max_element(log_weights.begin(), log_weights.end());
  float sum = 0;
  for (float& weight : log_weights) sum += weight = std::exp(weight - largest);
  for (float& weight : log_weights) weight /= sum;
}

}  // namespace

void EngineStep::Attend(std::span<const BlockIndex> blocks, int kv_head) {
  ESA_CHECK(SortedUniqueBelow(blocks, shape_.sealed_blocks));
  answers_.selections.resize(static_cast<std::size_t>(shape_.num_kv_heads));
  answers_.has_selections = true;
  for (int head = 0; head < shape_.num_kv_heads; ++head) {
    if (kv_head != kAllHeads && kv_head != head) continue;
    answers_.selections[static_cast<std::size_t>(head)].assign(blocks.begin(), blocks.end());
  }
  if (static_cast<std::int64_t>(blocks.size()) < shape_.sealed_blocks) {
    sequence_.stats.sparse = true;
  }
}

RetrievalTicket EngineStep::StartRetrieval(const RetrievalRequest& request) {
  ESA_CHECK(request.candidates.begin >= 0 && request.candidates.end <= shape_.sealed_blocks);
  ESA_CHECK(request.num_lists > 0 && request.num_scores % request.num_lists == 0);
  sequence_.retrievals.push_back(core_.retrieval->Start(request, representations()));
  return sequence_.retrievals.back();
}

BlockLists EngineStep::Collect(RetrievalTicket ticket) {
  const Stopwatch watch;
  const BlockLists lists = core_.retrieval->Collect(ticket);
  std::erase(sequence_.retrievals, ticket);
  if (step_ > 0) sequence_.stats.retrieval_stall_seconds += watch.Seconds();
  return lists;
}

void EngineStep::AddEstimate(int head, float log_weight, std::span<const float> value) {
  ESA_CHECK(head >= 0 && head < shape_.num_heads);
  answers_.estimates.push_back(
      {.head = head, .log_weight = log_weight, .value = {value.begin(), value.end()}});
}

void EngineStep::StartLoad(std::span<const BlockIndex> blocks, int kv_head) {
  ESA_CHECK(SortedUniqueBelow(blocks, shape_.sealed_blocks));
  const double copied_before = core_.working_set->counters().crew_seconds;
  const WorkingSet::Kept kept =
      core_.working_set->Keep(sequence_.cache, layer_, kv_head, blocks, shape_.sealed_blocks);
  if (step_ == 0) return;
  sequence_.stats.load_copy_seconds += core_.working_set->counters().crew_seconds - copied_before;
  sequence_.stats.fetched_bytes +=
      static_cast<std::uint64_t>(kept.fetched * core_.geometry.slice.slice_bytes());
  const int heads = kv_head == kAllHeads ? shape_.num_kv_heads : 1;
  ++sequence_.stats.selections;
  sequence_.stats.selected_blocks += static_cast<std::int64_t>(blocks.size()) * heads;
  sequence_.stats.reused_blocks += kept.resident;
}

std::vector<BlockIndex> EngineStep::WaitLoad() {
  const Stopwatch watch;
  std::vector<BlockIndex> failed = core_.working_set->FinishLoads(sequence_.cache, layer_);
  sequence_.stats.load_stall_seconds += watch.Seconds();
  if (!failed.empty()) sequence_.stats.degraded = true;
  return failed;
}

Status EngineStep::AttentionMass(std::span<float> mass) {
  const SliceLayout& layout = core_.geometry.slice;
  const std::int64_t blocks = shape_.num_blocks();
  ESA_CHECK(std::ssize(mass) == shape_.num_heads * blocks);
  const int group = shape_.group_size();
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
  std::vector<float> weights(static_cast<std::size_t>(group));
  for (int kv_head = 0; kv_head < shape_.num_kv_heads; ++kv_head) {
    const int first = kv_head * group;
    const float* q = query_.data() + std::int64_t{first} * shape_.head_dim;
    const auto weigh = [&](BlockIndex block, const std::byte* slice) {
      const std::int64_t start = std::int64_t{block} * layout.block_tokens;
      const SliceView view = {.data = slice,
                              .first_position = static_cast<std::int32_t>(start),
                              .num_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(
                                  layout.block_tokens, shape_.context_tokens - start))};
      SliceLogWeights(layout, q, group, {&view, 1}, scale, weights.data());
      for (int r = 0; r < group; ++r) {
        mass[static_cast<std::size_t>((first + r) * blocks + block)] =
            weights[static_cast<std::size_t>(r)];
      }
    };
    ESA_RETURN_IF_ERROR(core_.working_set->Visit(sequence_.cache, layer_, kv_head,
                                                 {0, static_cast<BlockIndex>(blocks)}, weigh));
  }
  for (int head = 0; head < shape_.num_heads; ++head) {
    SoftMax(
        mass.subspan(static_cast<std::size_t>(head * blocks), static_cast<std::size_t>(blocks)));
  }
  return {};
}

}  // namespace esa
