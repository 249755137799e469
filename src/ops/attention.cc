#include "ops/attention.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"
#include "ops/kernels/kernels.h"
#include "ops/kernels/scratch.h"

namespace esa {
namespace {

// Query rows of a prefill tile: enough to use a slice often once it is in the cache and in the form
// that its products read, few enough that their queries, scores and output (about 1.5 KiB a row at
// 128 dimensions) stay in the second level of caches.
constexpr int kPrefillTileRows = 192;

// The state of `rows` query rows: max [rows], sum [rows], acc [rows, head_dim].
std::int64_t StateFloats(int head_dim, std::int64_t rows) { return rows * (head_dim + 2); }

void SetState(float* state, int rows, AttendTask* task) {
  task->max = state;
  task->sum = state + rows;
  task->acc = state + 2 * rows;
}

using AttendKernel = void (*)(const AttendTask&);

AttendKernel KernelFor(const SliceLayout& layout) {
  const Kernels& kernels = CurrentKernels();
  switch (layout.dtype) {
    case KvDtype::kBf16:
      return kernels.attend_bf16;
    case KvDtype::kF32:
      return kernels.attend_f32;
    case KvDtype::kInt8:
      return kernels.attend_int8;
  }
  ESA_CHECK(false);
}

// The one for many rows where there is one. Needs AttendTileScratch() beside AttendScratch().
AttendKernel RowsKernelFor(const SliceLayout& layout) {
  const Kernels& kernels = CurrentKernels();
  AttendKernel kernel = nullptr;
  if (layout.dtype == KvDtype::kBf16) kernel = kernels.attend_rows_bf16;
  if (layout.dtype == KvDtype::kInt8) kernel = kernels.attend_rows_int8;
  const bool fits = layout.block_tokens <= kAttendRowsTokens;
  return kernel != nullptr && fits ? kernel : KernelFor(layout);
}

struct DecodePart {
  const DecodeAttentionItem* item;
  std::int64_t first_slice;
  std::int64_t num_slices;

  const std::byte* FirstSlice() const {
    return item->slices[static_cast<std::size_t>(first_slice)].data;
  }
};

// `next`: what the calling thread is likely to attend to after this, or null.
void AttendPart(const SliceLayout& layout, const DecodePart& part, const DecodePart* next,
                int group, float scale, float* state) {
  thread_local Scratch scratch;
  AttendTask task = {.block_tokens = layout.block_tokens,
                     .head_dim = layout.head_dim,
                     .slices = part.item->slices.data() + part.first_slice,
                     .num_slices = part.num_slices,
                     .next = next != nullptr ? next->FirstSlice() : nullptr,
                     .q = part.item->q,
                     .num_tokens = 1,
                     .group = group,
                     .first_position = std::numeric_limits<std::int32_t>::max(),
                     .scale = scale,
                     .scratch = scratch.Floats(static_cast<std::size_t>(
                         AttendScratch(layout.block_tokens, layout.head_dim, group)))};
  SetState(state, group, &task);
  KernelFor(layout)(task);
}

// One row's output from the states of its parts, in their order; zero where nothing was attended.
// Returns the log of its sum.
float MergeRow(const float* states, std::int64_t num_states, int rows, int row, int head_dim,
               float* out) {
  const std::int64_t stride = StateFloats(head_dim, rows);
  float max = -std::numeric_limits<float>::infinity();
  for (std::int64_t s = 0; s < num_states; ++s) max = std::max(max, states[s * stride + row]);
  std::fill_n(out, head_dim, 0.0f);
  float sum = 0;
  for (std::int64_t s = 0; s < num_states; ++s) {
    const float* state = states + s * stride;
    if (state[rows + row] == 0) continue;
    const float weight = std::exp(state[row] - max);
    const float* acc = state + 2 * rows + row * head_dim;
    sum += state[rows + row] * weight;
    for (int i = 0; i < head_dim; ++i) out[i] += acc[i] * weight;
  }
  if (sum == 0) return max;
  const float factor = 1.0f / sum;
  for (int i = 0; i < head_dim; ++i) out[i] *= factor;
  return max + std::log(sum);
}

struct PrefillTile {
  const PrefillAttentionItem* item;
  std::int64_t first_row;
  int num_tokens;
};

void AttendTile(const SliceLayout& layout, const PrefillTile& tile, int group, float scale) {
  thread_local Scratch scratch;
  const PrefillAttentionItem& item = *tile.item;
  const int rows = tile.num_tokens * group;
  const std::int64_t work = AttendScratch(layout.block_tokens, layout.head_dim, rows) +
                            AttendTileScratch(layout.block_tokens, layout.head_dim);
  float* memory =
      scratch.Floats(static_cast<std::size_t>(work + StateFloats(layout.head_dim, rows)));
  AttendTask task = {.block_tokens = layout.block_tokens,
                     .head_dim = layout.head_dim,
                     .slices = item.slices.data(),
                     .num_slices = static_cast<std::int64_t>(item.slices.size()),
                     .q = item.q + tile.first_row * item.row_stride,
                     .row_stride = item.row_stride,
                     .num_tokens = tile.num_tokens,
                     .group = group,
                     .first_position = item.first_position + tile.first_row,
                     .scale = scale,
                     .scratch = memory};
  SetState(memory + work, rows, &task);
  RowsKernelFor(layout)(task);
  for (int r = 0; r < rows; ++r) {
    float* out = item.out + (tile.first_row + r / group) * item.row_stride +
                 static_cast<std::int64_t>(r % group) * layout.head_dim;
    MergeRow(memory + work, 1, rows, r, layout.head_dim, out);
  }
}

}  // namespace

void DecodeAttention(const SliceLayout& layout, std::span<const DecodeAttentionItem> items,
                     int group, float scale) {
  thread_local std::vector<DecodePart> kept_parts;
  thread_local std::vector<std::int64_t> kept_first_parts;
  thread_local Scratch kept_states;
  std::vector<DecodePart>& parts = kept_parts;
  std::vector<std::int64_t>& first_parts = kept_first_parts;  // of each item, and the end
  parts.clear();
  first_parts.assign(1, 0);
  for (const DecodeAttentionItem& item : items) {
    const auto num_slices = static_cast<std::int64_t>(item.slices.size());
    for (std::int64_t s = 0; s < num_slices; s += kDecodeRun) {
      parts.push_back({&item, s, std::min<std::int64_t>(kDecodeRun, num_slices - s)});
    }
    first_parts.push_back(static_cast<std::int64_t>(parts.size()));
  }
  const auto num_parts = static_cast<std::int64_t>(parts.size());
  const auto num_rows = static_cast<std::int64_t>(items.size()) * group;
  const std::int64_t stride = StateFloats(layout.head_dim, group);
  float* states = kept_states.Floats(static_cast<std::size_t>(num_parts * stride));
#pragma omp parallel if (num_parts > 1)
  {
    const int threads = omp_get_num_threads();
#pragma omp for schedule(dynamic)
    for (std::int64_t p = 0; p < num_parts; ++p) {
      // Threads take parts in turn.
      const DecodePart* next =
          p + threads < num_parts ? &parts[static_cast<std::size_t>(p + threads)] : nullptr;
      AttendPart(layout, parts[static_cast<std::size_t>(p)], next, group, scale,
                 states + p * stride);
    }
#pragma omp for schedule(static)
    for (std::int64_t r = 0; r < num_rows; ++r) {
      const auto item = static_cast<std::size_t>(r / group);
      const auto row = static_cast<int>(r % group);
      const float log_weight = MergeRow(
          states + first_parts[item] * stride, first_parts[item + 1] - first_parts[item], group,
          row, layout.head_dim, items[item].out + static_cast<std::int64_t>(row) * layout.head_dim);
      if (items[item].log_weights != nullptr) items[item].log_weights[row] = log_weight;
    }
  }
}

void SliceLogWeights(const SliceLayout& layout, const float* q, int group,
                     std::span<const SliceView> slices, float scale, float* out) {
  const auto count = static_cast<std::int64_t>(slices.size());
#pragma omp parallel for schedule(static) if (count > kDecodeRun)
  for (std::int64_t i = 0; i < count; ++i) {
    thread_local Scratch states;
    float* state = states.Floats(static_cast<std::size_t>(StateFloats(layout.head_dim, group)));
    const DecodeAttentionItem item = {.q = q, .slices = slices};
    AttendPart(layout, {.item = &item, .first_slice = i, .num_slices = 1}, nullptr, group, scale,
               state);
    for (int r = 0; r < group; ++r) out[r * count + i] = state[r] + std::log(state[group + r]);
  }
}

void PrefillAttention(const SliceLayout& layout, std::span<const PrefillAttentionItem> items,
                      int group, float scale) {
  thread_local std::vector<PrefillTile> kept_tiles;
  std::vector<PrefillTile>& tiles = kept_tiles;
  const std::int64_t most_tokens = std::max(1, kPrefillTileRows / group);
  tiles.clear();
  for (const PrefillAttentionItem& item : items) {
    // Alike: a small one at the end would bring slices into another form for few rows.
    const std::int64_t count = (item.num_rows + most_tokens - 1) / most_tokens;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = item.num_rows * i / count;
      const std::int64_t end = item.num_rows * (i + 1) / count;
      tiles.push_back({&item, row, static_cast<int>(end - row)});
    }
  }
  // The last tiles see the most tokens: they start first so that none is left alone at the end.
  const auto num_tiles = static_cast<std::int64_t>(tiles.size());
#pragma omp parallel for schedule(dynamic) if (num_tiles > 1)
  for (std::int64_t t = num_tiles - 1; t >= 0; --t) {
    AttendTile(layout, tiles[static_cast<std::size_t>(t)], group, scale);
  }
}

}  // namespace esa
