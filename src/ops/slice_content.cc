// Writing slices and describing them: the same bits on every processor.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "ops/attention.h"
#include "ops/numeric.h"

namespace esa {
namespace {

void AppendBf16(const SliceLayout& layout, std::uint16_t* slice, int at, int count, const float* k,
                const float* v, std::int64_t stride) {
  const int tokens = layout.block_tokens;
  const int dim = layout.head_dim;
  for (int i = 0; i < dim; i += 2) {
    std::uint16_t* units = slice + static_cast<std::int64_t>(i) * tokens + 2 * at;
    for (int t = 0; t < count; ++t) {
      units[2 * t] = Bf16FromFloat(k[t * stride + i]);
      units[2 * t + 1] = Bf16FromFloat(k[t * stride + i + 1]);
    }
  }
  std::uint16_t* v_tile = slice + static_cast<std::int64_t>(tokens) * dim;
  for (int t = 0; t < count; ++t) {
    std::uint16_t* units =
        v_tile + static_cast<std::int64_t>((at + t) / 2) * dim * 2 + (at + t) % 2;
    for (int i = 0; i < dim; ++i) units[2 * i] = Bf16FromFloat(v[t * stride + i]);
  }
}

void AppendF32(const SliceLayout& layout, float* slice, int at, int count, const float* k,
               const float* v, std::int64_t stride) {
  const int tokens = layout.block_tokens;
  const int dim = layout.head_dim;
  float* v_tile = slice + static_cast<std::int64_t>(tokens) * dim;
  for (int i = 0; i < dim; ++i) {
    float* row = slice + static_cast<std::int64_t>(i) * tokens + at;
    for (int t = 0; t < count; ++t) row[t] = k[t * stride + i];
  }
  for (int t = 0; t < count; ++t) {
    for (int i = 0; i < dim; ++i)
      v_tile[static_cast<std::int64_t>(at + t) * dim + i] = v[t * stride + i];
  }
}

// Sum of value(t) over t in [0, count), in eight sums so that they can be added as vectors.
template <class Value>
float SumOf(int count, Value value) {
  std::array<float, 8> sums = {};
  int t = 0;
  for (; t + 8 <= count; t += 8) {
    for (int j = 0; j < 8; ++j) sums[static_cast<std::size_t>(j)] += value(t + j);
  }
  for (; t < count; ++t) sums[static_cast<std::size_t>(t % 8)] += value(t);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

}  // namespace

void AppendToSlice(const SliceLayout& layout, std::byte* slice, int at, int count, const float* k,
                   const float* v, std::int64_t stride) {
  ESA_CHECK(at >= 0 && count >= 0 && at + count <= layout.block_tokens);
  if (layout.dtype == KvDtype::kBf16) {
    AppendBf16(layout, reinterpret_cast<std::uint16_t*>(slice), at, count, k, v, stride);
  } else {
    AppendF32(layout, reinterpret_cast<float*>(slice), at, count, k, v, stride);
  }
}

void MeanKey(const SliceLayout& layout, const std::byte* slice, int num_tokens, float* out) {
  ESA_CHECK(num_tokens > 0 && num_tokens <= layout.block_tokens);
  const int tokens = layout.block_tokens;
  const auto n = static_cast<float>(num_tokens);
  for (int i = 0; i < layout.head_dim; ++i) {
    if (layout.dtype == KvDtype::kBf16) {
      const auto* units = reinterpret_cast<const std::uint16_t*>(slice) +
                          static_cast<std::int64_t>(i / 2) * tokens * 2 + i % 2;
      out[i] = SumOf(num_tokens, [=](int t) { return FloatFromBf16(units[2 * t]); }) / n;
    } else {
      const float* row =
          reinterpret_cast<const float*>(slice) + static_cast<std::int64_t>(i) * tokens;
      out[i] = SumOf(num_tokens, [=](int t) { return row[t]; }) / n;
    }
  }
}

namespace {

// Value `i` of a token: the keys' tile, then the values' tile.
float KeyAt(const SliceLayout& layout, const std::byte* slice, int token, int i) {
  const std::int64_t tokens = layout.block_tokens;
  if (layout.dtype == KvDtype::kF32) {
    return reinterpret_cast<const float*>(slice)[i * tokens + token];
  }
  return FloatFromBf16(
      reinterpret_cast<const std::uint16_t*>(slice)[(i / 2 * tokens + token) * 2 + i % 2]);
}

float ValueAt(const SliceLayout& layout, const std::byte* slice, int token, int i) {
  const std::int64_t dim = layout.head_dim;
  const std::byte* tile = slice + layout.tile_bytes();
  if (layout.dtype == KvDtype::kF32) return reinterpret_cast<const float*>(tile)[token * dim + i];
  return FloatFromBf16(
      reinterpret_cast<const std::uint16_t*>(tile)[(token / 2 * dim + i) * 2 + token % 2]);
}

}  // namespace

void SummarizeSlice(const SliceLayout& layout, const std::byte* slice, int first, int count,
                    const SliceSummary& out) {
  ESA_CHECK(first >= 0 && count > 0 && first + count <= layout.block_tokens);
  const auto n = static_cast<float>(count);
  for (int i = 0; i < layout.head_dim; ++i) {
    const auto key = [&](int t) { return KeyAt(layout, slice, first + t, i); };
    const float mean = SumOf(count, key) / n;
    const auto square = [&](int t) { return (key(t) - mean) * (key(t) - mean); };
    out.mean[i] = mean;
    out.variance[i] = SumOf(count, square) / n;
    out.lower[i] = out.upper[i] = key(0);
    for (int t = 1; t < count; ++t) {
      out.lower[i] = std::min(out.lower[i], key(t));
      out.upper[i] = std::max(out.upper[i], key(t));
    }
    out.value_mean[i] =
        SumOf(count, [&](int t) { return ValueAt(layout, slice, first + t, i); }) / n;
  }
}

void ReadKey(const SliceLayout& layout, const std::byte* slice, int token, float* out) {
  for (int i = 0; i < layout.head_dim; ++i) out[i] = KeyAt(layout, slice, token, i);
}

}  // namespace esa
