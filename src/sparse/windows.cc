#include "sparse/windows.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace esa {
namespace {

void Append(std::vector<BlockIndex>& blocks, std::int64_t begin, std::int64_t end) {
  for (std::int64_t b = begin; b < end; ++b) blocks.push_back(static_cast<BlockIndex>(b));
}

}  // namespace

Windows ReadWindows(OptionReader& reader) {
  const Windows defaults;
  return {.init = reader.Int("init_window_sz", defaults.init, 0, kMostWindowBlocks),
          .local = reader.Int("local_window_sz", defaults.local, 1, kMostWindowBlocks)};
}

RepresentationType ReadRepresentationType(OptionReader& reader, RepresentationType fallback) {
  const char* const names[] = {"f32", "bf16", "int8"};
  const std::string name =
      reader.Text("representation", names[static_cast<int>(fallback)], {"f32", "bf16", "int8"});
  return name == "bf16"   ? RepresentationType::kBf16
         : name == "int8" ? RepresentationType::kInt8
                          : RepresentationType::kF32;
}

BlockRange BlocksBetween(const Windows& windows, const SequenceShape& shape) {
  const std::int64_t end = std::min(shape.num_blocks() - windows.local, shape.sealed_blocks);
  if (end <= windows.init) return {};
  return {static_cast<BlockIndex>(windows.init), static_cast<BlockIndex>(end)};
}

std::int64_t Share(std::int64_t count, double ratio) {
  return static_cast<std::int64_t>(std::floor(static_cast<double>(count) * ratio + 1e-9));
}

std::int64_t ResidentBetween(const Windows& windows, double ratio, std::int64_t stride,
                             const SequenceShape& shape) {
  const std::int64_t n = shape.num_blocks();
  const std::int64_t between = std::max<std::int64_t>(0, n - windows.init - windows.local);
  const std::int64_t since = (2 * stride + shape.block_tokens - 1) / shape.block_tokens + 1;
  return std::min(n, windows.init + Share(between, ratio) + windows.local + since);
}

Selection SelectAround(BlockRange between, std::span<const BlockIndex> chosen,
                       std::int64_t sealed_blocks) {
  Selection selection;
  const std::int64_t local_begin = between.size() > 0 ? between.end : 0;
  if (between.size() > 0) {
    Append(selection.blocks, 0, std::min<std::int64_t>(between.begin, sealed_blocks));
    selection.blocks.insert(selection.blocks.end(), chosen.begin(), chosen.end());
  }
  Append(selection.blocks, local_begin, sealed_blocks);
  selection.next = static_cast<BlockIndex>(std::max(local_begin, sealed_blocks));
  return selection;
}

void GroupMeanQuery(const AttentionStep& step, std::vector<float>* mean) {
  const SequenceShape& shape = step.shape();
  const std::span<const float> query = step.query();
  const int group = shape.group_size();
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  mean->assign(static_cast<std::size_t>(shape.num_kv_heads) * dim, 0.0f);
  for (int head = 0; head < shape.num_heads; ++head) {
    const float* from = query.data() + static_cast<std::size_t>(head) * dim;
    float* to = mean->data() + static_cast<std::size_t>(head / group) * dim;
    for (std::size_t i = 0; i < dim; ++i) to[i] += from[i];
  }
  for (float& value : *mean) value /= static_cast<float>(group);
}

void LayerSelection::Load(AttentionStep& step, Selection selection) {
  std::vector<Selection> one(1);
  one[0] = std::move(selection);
  Load(step, std::move(one));
}

void LayerSelection::Load(AttentionStep& step, std::vector<Selection> selections) {
  for (std::size_t i = 0; i < selections.size(); ++i) {
    step.StartLoad(selections[i].blocks, selections.size() == 1 ? kAllHeads : static_cast<int>(i));
  }
  coming_ = std::move(selections);
  loading_ = true;
}

void LayerSelection::Adopt(AttentionStep& step) {
  if (!loading_) return;
  loading_ = false;
  used_ = std::exchange(coming_, {});
  const std::vector<BlockIndex> failed = step.WaitLoad();
  if (failed.empty()) return;
  for (Selection& selection : used_) {
    std::erase_if(selection.blocks, [&failed](BlockIndex block) {
      return std::binary_search(failed.begin(), failed.end(), block);
    });
  }
}

void LayerSelection::Attend(AttentionStep& step) {
  for (std::size_t i = 0; i < used_.size(); ++i) {
    named_ = used_[i].blocks;
    Append(named_, used_[i].next, step.shape().sealed_blocks);
    step.Attend(named_, used_.size() == 1 ? kAllHeads : static_cast<int>(i));
  }
}

}  // namespace esa
