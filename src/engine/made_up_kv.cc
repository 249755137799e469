#include "engine/made_up_kv.h"

#include <vector>

#include "base/status_macros.h"
#include "base/zeroed_pages.h"
#include "ops/attention.h"

namespace esa {
namespace {

// xorshift64*: S. Vigna, An experimental exploration of Marsaglia's xorshift generators, 2016.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  // Uniform, of variance one.
  float Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    const auto bits = static_cast<std::int32_t>((state_ * 0x2545f4914f6cdd1du) >> 32);
    return static_cast<float>(bits) * (0x1p-31f * 1.7320508f);
  }

 private:
  std::uint64_t state_;
};

class MadeUpBlock {
 public:
  explicit MadeUpBlock(const KvGeometry& geometry)
      : geometry_(geometry),
        bytes_(static_cast<std::size_t>(geometry.block_bytes())),
        means_(static_cast<std::size_t>(geometry.slices_per_block() * geometry.slice.head_dim)) {}

  void Fill(std::uint64_t seed) {
    const SliceLayout& layout = geometry_.slice;
    const int slices = geometry_.slices_per_block();
    const auto values = static_cast<std::size_t>(layout.block_tokens * layout.head_dim);
#pragma omp parallel for schedule(static)
    for (int slice = 0; slice < slices; ++slice) {
      Random random(seed * static_cast<std::uint64_t>(slices) + static_cast<std::uint64_t>(slice));
      std::vector<float> rows(2 * values);
      for (float& value : rows) value = random.Next();
      std::byte* data = Slice(slice);
      AppendToSlice(layout, data, 0, layout.block_tokens, rows.data(), rows.data() + values,
                    layout.head_dim);
      MeanKey(layout, data, 0, layout.block_tokens, Mean(slice));
    }
  }

  std::vector<SliceWrite> Writes(const BlockId& id) {
    std::vector<SliceWrite> writes;
    for (int slice = 0; slice < geometry_.slices_per_block(); ++slice) {
      writes.push_back({.id = id,
                        .slice = static_cast<std::uint32_t>(slice),
                        .data = Slice(slice),
                        .representation = reinterpret_cast<const std::byte*>(Mean(slice))});
    }
    return writes;
  }

 private:
  std::byte* Slice(int slice) { return bytes_.data() + slice * geometry_.slice.slice_bytes(); }
  float* Mean(int slice) { return means_.data() + slice * geometry_.slice.head_dim; }

  KvGeometry geometry_;
  ZeroedPages bytes_;
  std::vector<float> means_;
};

}  // namespace

Status StoreMadeUpKv(const EngineCore& core, std::span<const std::int32_t> tokens,
                     const PrefillProgress& progress) {
  BlockStore* store = core.working_set->store();
  const auto size = static_cast<std::size_t>(core.geometry.slice.block_tokens);
  const std::vector<BlockId> ids = core.hasher->Chain(tokens);
  MadeUpBlock block(core.geometry);
  for (std::size_t b = 0; b < ids.size(); ++b) {
    const BlockKey key = {.id = ids[b], .tokens = tokens.subspan(b * size, size)};
    ESA_ASSIGN_OR_RETURN(const bool opened,
                         store->Begin(key, b == 0 ? core.hasher->Root() : ids[b - 1]));
    if (!opened) continue;
    block.Fill(b + 1);
    ESA_ASSIGN_OR_RETURN(const TaskId task, store->Dump(block.Writes(ids[b])));
    ESA_ASSIGN_OR_RETURN(const TaskResult result, store->Wait(task, BlockStore::Deadline::max()));
    if (!result.failures.empty()) return result.failures.front().error;
    if (progress) progress(static_cast<double>(b + 1) / static_cast<double>(ids.size()));
  }
  return {};
}

}  // namespace esa
