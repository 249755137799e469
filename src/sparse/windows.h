// What the algorithms share: the windows at both ends of the context, the selection between them,
// and the cycle in which a layer loads a selection, adopts it and attends to it.
//
// Threading: one thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "esa/sparse_attention.h"

namespace esa {

inline constexpr std::int64_t kMostWindowBlocks = 1 << 30;
inline constexpr std::int64_t kMostStride = 1 << 30;

// The first `init` and the last `local` blocks, the partial last block counted as one.
struct Windows {
  std::int64_t init = 1;
  std::int64_t local = 2;
};

// init_window_sz and local_window_sz.
Windows ReadWindows(OptionReader& reader);

// representation: f32, bf16 or int8.
RepresentationType ReadRepresentationType(OptionReader& reader, RepresentationType fallback);

// The sealed blocks between the windows; empty when they cover the context.
BlockRange BlocksBetween(const Windows& windows, const SequenceShape& shape);

// floor(count * ratio), where 0.3 of 10 is 3 also in binary.
std::int64_t Share(std::int64_t count, double ratio);

// ResidentBlocks of an algorithm that keeps the windows, a share of what is between them and all
// tokens since, where a selection is made from candidates up to two strides old.
std::int64_t ResidentBetween(const Windows& windows, double ratio, std::int64_t stride,
                             const SequenceShape& shape);

// Blocks to attend to: `blocks` (sorted, unique), and whatever is sealed from `next` on.
// Default: all blocks.
struct Selection {
  std::vector<BlockIndex> blocks;
  BlockIndex next = 0;
};

// The blocks before between.begin, `chosen` (sorted, out of `between`), and all from between.end
// on; all blocks when `between` is empty.
Selection SelectAround(BlockRange between, std::span<const BlockIndex> chosen,
                       std::int64_t sealed_blocks);

// The mean over the query heads of each GQA group, [num_kv_heads, head_dim].
void GroupMeanQuery(const AttentionStep& step, std::vector<float>* mean);

// The selection of one layer: the one in use and the one on its way.
class LayerSelection {
 public:
  // Starts to load a selection for all KV heads, or one for each; it is used from the next Adopt
  // on.
  void Load(AttentionStep& step, Selection selection);
  void Load(AttentionStep& step, std::vector<Selection> selections);

  bool loading() const { return loading_; }

  // Before attention: waits for what Load started, if anything, and uses it less what failed.
  void Adopt(AttentionStep& step);

  // Names the sealed blocks of the selection in use.
  void Attend(AttentionStep& step);

 private:
  std::vector<Selection> used_ = std::vector<Selection>(1);  // one, or one a KV head
  std::vector<Selection> coming_;
  std::vector<BlockIndex> named_;  // kept so that naming them allocates nothing
  bool loading_ = false;
};

// The state of the step's layer, in a vector that gets its size at first use.
template <typename Layer>
Layer& LayerOf(std::vector<Layer>& layers, const AttentionStep& step) {
  if (layers.empty()) layers.resize(static_cast<std::size_t>(step.shape().num_layers));
  return layers[static_cast<std::size_t>(step.layer())];
}

}  // namespace esa
