#include "engine/prefill_selection.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <span>
#include <string_view>

#include "base/check.h"
#include "ops/attention.h"
#include "ops/retrieval_kernels.h"

namespace esa {
namespace {

constexpr int kMostTileTokens = 32;
constexpr int kMostPartTokens = 16;
constexpr std::int64_t kFirstBlocks = 1;
constexpr std::int64_t kNearBlocks = 2;  // with the one that the tile is part of
constexpr std::int64_t kLeastChosen = 4;

int LargestDivisor(int number, int most) {
  int divisor = std::min(number, most);
  while (number % divisor != 0) --divisor;
  return divisor;
}

}  // namespace

PrefillSelection::PrefillSelection(const KvGeometry& geometry, const PrefillConfig& config,
                                   std::int64_t max_blocks)
    : geometry_(geometry),
      ratio_(config.ratio),
      tile_tokens_(LargestDivisor(geometry.slice.block_tokens, kMostTileTokens)),
      parts_(geometry.slice.block_tokens /
             LargestDivisor(geometry.slice.block_tokens, kMostPartTokens)),
      max_blocks_(max_blocks),
      means_(static_cast<std::size_t>(geometry.num_kv_heads * max_blocks * parts_ *
                                      geometry.slice.head_dim)) {}

void PrefillSelection::Describe(std::int64_t block, int kv_head, const std::byte* slice) {
  const int part_tokens = geometry_.slice.block_tokens / parts_;
  const std::int64_t dim = geometry_.slice.head_dim;
  float* out = means_.data() + (kv_head * max_blocks_ + block) * parts_ * dim;
  for (int part = 0; part < parts_; ++part, out += dim) {
    MeanKey(geometry_.slice, slice, part * part_tokens, part_tokens, out);
  }
}

std::int64_t PrefillSelection::Select(const Tile& tile, std::vector<BlockIndex>* blocks) const {
  blocks->clear();
  const std::int64_t own = tile.first_position / geometry_.slice.block_tokens;
  const std::int64_t near = std::max<std::int64_t>(own - kNearBlocks + 1, 0);
  const std::int64_t candidates = near - kFirstBlocks;
  const std::int64_t wanted = std::max(
      kLeastChosen, static_cast<std::int64_t>(std::ceil(ratio_ * static_cast<double>(candidates))));
  if (candidates <= wanted) return 0;

  thread_local std::vector<float> scores;  // [group, parts]
  thread_local std::vector<float> shares;  // [parts], then [blocks]
  thread_local TopKScratch scratch;
  const std::int64_t dim = geometry_.slice.head_dim;
  const auto count = static_cast<std::size_t>(own * parts_);
  scores.resize(count * static_cast<std::size_t>(tile.group));
  shares.assign(count, 0.0f);
  const ScoredRows means = {.data = means_.data() + tile.kv_head * max_blocks_ * parts_ * dim,
                            .type = RepresentationType::kF32,
                            .dim = dim};
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (int row = 0; row < tile.num_rows; ++row) {
    DotRows(means, static_cast<std::int64_t>(count), tile.q + row * tile.row_stride, tile.group,
            scores.data(), static_cast<std::int64_t>(count), false);
    for (int head = 0; head < tile.group; ++head) {
      AddSoftMax(std::span(scores).subspan(static_cast<std::size_t>(head) * count, count), scale,
                 shares);
    }
  }
  for (std::int64_t b = 0; b < near; ++b) {
    const float* of_block = shares.data() + b * parts_;
    float sum = 0;
    for (int part = 0; part < parts_; ++part) sum += of_block[part];
    shares[static_cast<std::size_t>(b)] = sum;
  }
  TopK(std::span(shares).subspan(kFirstBlocks, static_cast<std::size_t>(candidates)), wanted,
       &scratch, blocks);
  for (BlockIndex& block : *blocks) block += static_cast<BlockIndex>(kFirstBlocks);
  for (std::int64_t b = kFirstBlocks - 1; b >= 0; --b) {
    blocks->insert(blocks->begin(), static_cast<BlockIndex>(b));
  }
  return near;
}

std::vector<std::uint8_t> ComputationMark(const PrefillConfig& config) {
  if (config.attention == PrefillAttention::kDense) return {};
  const std::string_view name = "sparse prefill 1";
  std::vector<std::uint8_t> mark(name.begin(), name.end());
  // Every bit of it: ratios that print alike may choose differently.
  for (const std::uint8_t byte :
       std::bit_cast<std::array<std::uint8_t, sizeof(double)>>(config.ratio)) {
    mark.push_back(byte);
  }
  return mark;
}

}  // namespace esa
