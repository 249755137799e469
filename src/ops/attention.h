// Softmax attention of f32 queries over KV slices.
//
// All query rows that share a KV head are computed together, so that each byte of K and V is read
// once for the whole group. Work is split by KV head, by query tile and, for decode, by runs of
// kDecodeRun slices that are merged in order: the split depends on the shapes only, so the result
// does not depend on the number of threads. A slice is addressed by pointer: where it lies does not
// change the result either.
// Threading: uses the OpenMP pool; call from one thread at a time.
// Source of the online softmax: Milakov and Gimelshein, 2018; of the split over keys: Dao et al.,
// Flash-Decoding, 2023.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kv/geometry.h"

namespace esa {

// Tokens [first_position, first_position + num_tokens) of one KV head.
struct SliceView {
  const std::byte* data = nullptr;  // laid out as SliceLayout says
  std::int32_t first_position = 0;
  std::int32_t num_tokens = 0;  // at most block_tokens; tokens beyond are not read as values
};

// Writes tokens [at, at + count) of a slice. k and v: rows of head_dim values, `stride` values
// apart, count rows.
void AppendToSlice(const SliceLayout& layout, std::byte* slice, int at, int count, const float* k,
                   const float* v, std::int64_t stride);

// Mean key of a slice's tokens [first, first + count), as the kernels see it (after rounding to the
// KV type): out [head_dim].
void MeanKey(const SliceLayout& layout, const std::byte* slice, int first, int count, float* out);

// Statistics of the keys (and the mean of the values) of tokens [first, first + count), [head_dim]
// each, by channel, as the kernels see them.
struct SliceSummary {
  float* mean = nullptr;
  float* variance = nullptr;
  float* lower = nullptr;
  float* upper = nullptr;
  float* value_mean = nullptr;
};
void SummarizeSlice(const SliceLayout& layout, const std::byte* slice, int first, int count,
                    const SliceSummary& out);

// One token's key, [head_dim].
void ReadKey(const SliceLayout& layout, const std::byte* slice, int token, float* out);

inline constexpr int kDecodeRun = 16;

// One query token, one KV head.
struct DecodeAttentionItem {
  const float* q = nullptr;           // [group, head_dim], contiguous
  float* out = nullptr;               // [group, head_dim], contiguous
  std::span<const SliceView> slices;  // by rising position; all their tokens are attended
  float* log_weights = nullptr;  // [group] or null: log of the sum of exp(score), -inf for none
};

// Several sequences and heads at once. scale multiplies q.k (1 / sqrt(head_dim)).
void DecodeAttention(const SliceLayout& layout, std::span<const DecodeAttentionItem> items,
                     int group, float scale);

// The log of the sum of exp(scale * q.k) over each slice's tokens: out [group, slices.size()].
// q [group, head_dim]. No values are needed of the slices, only their K tiles.
void SliceLogWeights(const SliceLayout& layout, const float* q, int group,
                     std::span<const SliceView> slices, float scale, float* out);

// Causal: query row r sits at position first_position + r and attends to every token of the
// slices at its position or before.
struct PrefillAttentionItem {
  const float* q = nullptr;     // row r, head h of the group at q + r * row_stride + h * head_dim
  float* out = nullptr;         // the same layout
  std::int64_t row_stride = 0;  // in values
  std::int64_t num_rows = 0;
  std::int32_t first_position = 0;
  std::span<const SliceView> slices;  // by rising position
};

void PrefillAttention(const SliceLayout& layout, std::span<const PrefillAttentionItem> items,
                      int group, float scale);

}  // namespace esa
