// Writing slices and describing them: the same bits on every processor.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

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

// A row's values in units of its scale; its largest magnitude is 127 of them.
float ScaleOf(const float* row, int dim) {
  float largest = 0;
  for (int i = 0; i < dim; ++i) largest = std::max(largest, std::abs(row[i]));
  return largest / 127;
}

std::int8_t InUnitsOf(float inverse_scale, float value) {
  return static_cast<std::int8_t>(
      std::clamp(std::nearbyint(value * inverse_scale), -127.0f, 127.0f));
}

void AppendInt8(const SliceLayout& layout, std::byte* slice, int at, int count, const float* k,
                const float* v, std::int64_t stride) {
  const std::int64_t tokens = layout.block_tokens;
  const int dim = layout.head_dim;
  auto* k_tile = reinterpret_cast<std::int8_t*>(slice);
  std::int8_t* v_tile = k_tile + layout.tile_bytes();
  auto* scales = reinterpret_cast<float*>(slice + 2 * layout.tile_bytes());
  for (int t = 0; t < count; ++t) {
    const std::int64_t token = at + t;
    const float* key = k + t * stride;
    const float* value = v + t * stride;
    const float k_scale = scales[token] = ScaleOf(key, dim);
    const float v_scale = scales[tokens + token] = ScaleOf(value, dim);
    const float k_inverse = k_scale > 0 ? 1 / k_scale : 0;
    const float v_inverse = v_scale > 0 ? 1 / v_scale : 0;
    for (int i = 0; i < dim; ++i) {
      k_tile[(i / 4 * tokens + token) * 4 + i % 4] = InUnitsOf(k_inverse, key[i]);
      v_tile[(token / 4 * dim + i) * 4 + token % 4] = InUnitsOf(v_inverse, value[i]);
    }
  }
}

// The value of channel i of a token.
float Int8At(const SliceLayout& layout, const std::byte* slice, bool value, std::int64_t token,
             std::int64_t i) {
  const std::int64_t tokens = layout.block_tokens;
  const auto* tile =
      reinterpret_cast<const std::int8_t*>(slice) + (value ? layout.tile_bytes() : 0);
  const auto* scales = reinterpret_cast<const float*>(slice + 2 * layout.tile_bytes());
  if (value) {
    return static_cast<float>(tile[(token / 4 * layout.head_dim + i) * 4 + token % 4]) *
           scales[tokens + token];
  }
  return static_cast<float>(tile[(i / 4 * tokens + token) * 4 + i % 4]) * scales[token];
}

// Sums over tokens are made of eight, so that they can be added as vectors: token t in sum t % 8.
constexpr int kSums = 8;
using Sums = std::array<float, kSums>;

float Total(const Sums& sums) {
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// Sum of value(t) over t in [0, count).
template <class Value>
float SumOf(int count, Value value) {
  Sums sums = {};
  int t = 0;
  for (; t + kSums <= count; t += kSums) {
    for (int j = 0; j < kSums; ++j) sums[static_cast<std::size_t>(j)] += value(t + j);
  }
  for (; t < count; ++t) sums[static_cast<std::size_t>(t % kSums)] += value(t);
  return Total(sums);
}

}  // namespace

void AppendToSlice(const SliceLayout& layout, std::byte* slice, int at, int count, const float* k,
                   const float* v, std::int64_t stride) {
  ESA_CHECK(at >= 0 && count >= 0 && at + count <= layout.block_tokens);
  if (layout.dtype == KvDtype::kBf16) {
    AppendBf16(layout, reinterpret_cast<std::uint16_t*>(slice), at, count, k, v, stride);
  } else if (layout.dtype == KvDtype::kInt8) {
    AppendInt8(layout, slice, at, count, k, v, stride);
  } else {
    AppendF32(layout, reinterpret_cast<float*>(slice), at, count, k, v, stride);
  }
}

void MeanKey(const SliceLayout& layout, const std::byte* slice, int first, int count, float* out) {
  ESA_CHECK(first >= 0 && count > 0 && first + count <= layout.block_tokens);
  const int tokens = layout.block_tokens;
  const auto n = static_cast<float>(count);
  for (int i = 0; i < layout.head_dim; ++i) {
    if (layout.dtype == KvDtype::kBf16) {
      const auto* units = reinterpret_cast<const std::uint16_t*>(slice) +
                          (static_cast<std::int64_t>(i / 2) * tokens + first) * 2 + i % 2;
      out[i] = SumOf(count, [=](int t) { return FloatFromBf16(units[2 * t]); }) / n;
    } else if (layout.dtype == KvDtype::kInt8) {
      out[i] = SumOf(count, [&](int t) { return Int8At(layout, slice, false, first + t, i); }) / n;
    } else {
      const float* row =
          reinterpret_cast<const float*>(slice) + static_cast<std::int64_t>(i) * tokens + first;
      out[i] = SumOf(count, [=](int t) { return row[t]; }) / n;
    }
  }
}

namespace {

// Pair i of bf16 values.
std::uint32_t PairAt(const std::byte* pairs, std::int64_t i) {
  std::uint32_t pair;
  std::memcpy(&pair, pairs + i * std::int64_t{sizeof(pair)}, sizeof(pair));
  return pair;
}
float LowerOf(std::uint32_t pair) { return std::bit_cast<float>(pair << 16); }
float UpperOf(std::uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }

// Value `i` of a token's key.
float KeyAt(const SliceLayout& layout, const std::byte* slice, int token, int i) {
  const std::int64_t tokens = layout.block_tokens;
  if (layout.dtype == KvDtype::kF32) {
    return reinterpret_cast<const float*>(slice)[i * tokens + token];
  }
  if (layout.dtype == KvDtype::kInt8) return Int8At(layout, slice, false, token, i);
  return FloatFromBf16(
      reinterpret_cast<const std::uint16_t*>(slice)[(i / 2 * tokens + token) * 2 + i % 2]);
}

// The loops below run over kSums tokens or over the channels at once, so that compilers make
// vectors of them; they add in the order of SumOf.

// A channel's statistics from its keys.
void SummarizeKeys(const float* keys, int count, int channel, const SliceSummary& out) {
  Sums sums = {};
  Sums lower;
  Sums upper;
  lower.fill(keys[0]);
  upper.fill(keys[0]);
  const int whole = count / kSums * kSums;
  const auto add = [&](int t, int j) {
    const auto lane = static_cast<std::size_t>(j);
    sums[lane] += keys[t + j];
    lower[lane] = keys[t + j] < lower[lane] ? keys[t + j] : lower[lane];
    upper[lane] = keys[t + j] > upper[lane] ? keys[t + j] : upper[lane];
  };
  for (int t = 0; t < whole; t += kSums) {
    for (int j = 0; j < kSums; ++j) add(t, j);
  }
  for (int j = 0; j < count - whole; ++j) add(whole, j);
  const auto n = static_cast<float>(count);
  const float mean = Total(sums) / n;
  Sums squares = {};
  for (int t = 0; t < whole; t += kSums) {
    for (int j = 0; j < kSums; ++j) {
      const float difference = keys[t + j] - mean;
      squares[static_cast<std::size_t>(j)] += difference * difference;
    }
  }
  for (int j = 0; j < count - whole; ++j) {
    const float difference = keys[whole + j] - mean;
    squares[static_cast<std::size_t>(j)] += difference * difference;
  }
  out.mean[channel] = mean;
  out.variance[channel] = Total(squares) / n;
  out.lower[channel] = *std::min_element(lower.begin(), lower.end());
  out.upper[channel] = *std::max_element(upper.begin(), upper.end());
}

// scratch [2 * count].
void SummarizeBf16Keys(const SliceLayout& layout, const std::byte* slice, int first, int count,
                       float* scratch, const SliceSummary& out) {
  float* lower = scratch;
  float* upper = scratch + count;
  for (int i = 0; i < layout.head_dim; i += 2) {
    const std::byte* pairs = slice + (std::int64_t{i} / 2 * layout.block_tokens + first) * 4;
    for (int t = 0; t < count; ++t) lower[t] = LowerOf(PairAt(pairs, t));
    for (int t = 0; t < count; ++t) upper[t] = UpperOf(PairAt(pairs, t));
    SummarizeKeys(lower, count, i, out);
    SummarizeKeys(upper, count, i + 1, out);
  }
}

// sums[i] += the value of channel i of a token.
void AddValues(const SliceLayout& layout, const std::byte* slice, int token, float* sums) {
  const std::int64_t dim = layout.head_dim;
  const std::byte* tile = slice + layout.tile_bytes();
  if (layout.dtype == KvDtype::kF32) {
    const float* row = reinterpret_cast<const float*>(tile) + token * dim;
    for (std::int64_t i = 0; i < dim; ++i) sums[i] += row[i];
    return;
  }
  if (layout.dtype == KvDtype::kInt8) {
    for (std::int64_t i = 0; i < dim; ++i) sums[i] += Int8At(layout, slice, true, token, i);
    return;
  }
  const std::byte* pairs = tile + token / 2 * dim * 4;
  if (token % 2 == 0) {
    for (std::int64_t i = 0; i < dim; ++i) sums[i] += LowerOf(PairAt(pairs, i));
  } else {
    for (std::int64_t i = 0; i < dim; ++i) sums[i] += UpperOf(PairAt(pairs, i));
  }
}

}  // namespace

void SummarizeSlice(const SliceLayout& layout, const std::byte* slice, int first, int count,
                    const SliceSummary& out) {
  ESA_CHECK(first >= 0 && count > 0 && first + count <= layout.block_tokens);
  thread_local std::vector<float> scratch;
  const std::int64_t dim = layout.head_dim;
  scratch.resize(static_cast<std::size_t>(std::max<std::int64_t>(kSums * dim, 2 * count)));
  if (layout.dtype == KvDtype::kF32) {
    const float* keys = reinterpret_cast<const float*>(slice) + first;
    for (int i = 0; i < dim; ++i, keys += layout.block_tokens) SummarizeKeys(keys, count, i, out);
  } else if (layout.dtype == KvDtype::kInt8) {
    for (int i = 0; i < dim; ++i) {
      for (int t = 0; t < count; ++t) {
        scratch[static_cast<std::size_t>(t)] = Int8At(layout, slice, false, first + t, i);
      }
      SummarizeKeys(scratch.data(), count, i, out);
    }
  } else {
    SummarizeBf16Keys(layout, slice, first, count, scratch.data(), out);
  }
  float* sums = scratch.data();
  std::fill_n(sums, kSums * dim, 0.0f);
  for (int t = 0; t < count; ++t) AddValues(layout, slice, first + t, sums + t % kSums * dim);
  for (std::int64_t i = 0; i < dim; ++i) {
    Sums of_channel;
    for (int j = 0; j < kSums; ++j) of_channel[static_cast<std::size_t>(j)] = sums[j * dim + i];
    out.value_mean[i] = Total(of_channel) / static_cast<float>(count);
  }
}

void ReadKey(const SliceLayout& layout, const std::byte* slice, int token, float* out) {
  for (int i = 0; i < layout.head_dim; ++i) out[i] = KeyAt(layout, slice, token, i);
}

}  // namespace esa
