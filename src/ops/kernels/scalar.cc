// Plain loops for any processor; the reference that the other sources are tested against.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "ops/kernels/kernels.h"
#include "ops/numeric.h"

namespace esa {
namespace {

// A slice's values by token and dimension.
struct Bf16Tiles {
  const std::uint16_t* values;
  int block_tokens, head_dim;
  float K(int t, int i) const {
    return FloatFromBf16(values[(i / 2 * block_tokens + t) * 2 + i % 2]);
  }
  float V(int t, int i) const {
    const int tile = block_tokens * head_dim;
    return FloatFromBf16(values[tile + (t / 2 * head_dim + i) * 2 + t % 2]);
  }
};

struct F32Tiles {
  const float* values;
  int block_tokens, head_dim;
  float K(int t, int i) const { return values[i * block_tokens + t]; }
  float V(int t, int i) const { return values[block_tokens * head_dim + t * head_dim + i]; }
};

struct Int8Tiles {
  const std::int8_t* values;
  int block_tokens, head_dim;
  float Scale(int which, int t) const {
    const int tile = block_tokens * head_dim;
    const auto* scales = reinterpret_cast<const float*>(values + 2 * tile);
    return scales[which * block_tokens + t];
  }
  float K(int t, int i) const {
    return static_cast<float>(values[(i / 4 * block_tokens + t) * 4 + i % 4]) * Scale(0, t);
  }
  float V(int t, int i) const {
    const int tile = block_tokens * head_dim;
    return static_cast<float>(values[tile + (t / 4 * head_dim + i) * 4 + t % 4]) * Scale(1, t);
  }
};

// One row against one slice: scores [tokens], then the online softmax.
template <class Tiles>
void AttendRow(const AttendTask& task, const Tiles& tiles, const float* q, int tokens, int r) {
  float* scores = task.scratch;
  float* acc = task.acc + static_cast<std::int64_t>(r) * task.head_dim;
  float max = task.max[r];
  for (int t = 0; t < tokens; ++t) {
    float dot = 0;
    for (int i = 0; i < task.head_dim; ++i) dot += q[i] * tiles.K(t, i);
    scores[t] = dot * task.scale;
    max = std::max(max, scores[t]);
  }
  const float factor = std::exp(task.max[r] - max);
  for (int i = 0; i < task.head_dim; ++i) acc[i] *= factor;
  float sum = 0;
  for (int t = 0; t < tokens; ++t) {
    scores[t] = std::exp(scores[t] - max);
    sum += scores[t];
  }
  for (int i = 0; i < task.head_dim; ++i) {
    float added = 0;
    for (int t = 0; t < tokens; ++t) added += scores[t] * tiles.V(t, i);
    acc[i] += added;
  }
  task.max[r] = max;
  task.sum[r] = task.sum[r] * factor + sum;
}

template <class Tiles>
void Attend(const AttendTask& task) {
  for (int r = 0; r < task.num_tokens * task.group; ++r) {
    const int token = r / task.group;
    const float* q = task.q + token * task.row_stride + r % task.group * task.head_dim;
    task.max[r] = -std::numeric_limits<float>::infinity();
    task.sum[r] = 0;
    std::fill_n(task.acc + static_cast<std::int64_t>(r) * task.head_dim, task.head_dim, 0.0f);
    for (std::int64_t s = 0; s < task.num_slices; ++s) {
      const SliceView& slice = task.slices[s];
      const std::int64_t visible = task.first_position + token - slice.first_position + 1;
      const int tokens = static_cast<int>(std::min<std::int64_t>(visible, slice.num_tokens));
      if (tokens <= 0) continue;
      using Value = std::remove_cvref_t<decltype(*Tiles::values)>;
      const Tiles tiles = {reinterpret_cast<const Value*>(slice.data), task.block_tokens,
                           task.head_dim};
      AttendRow(task, tiles, q, tokens, r);
    }
  }
}

float F32(float value) { return value; }

template <class Value, float (*kToFloat)(Value)>
void MultiplyRows(const ProductTask& task) {
  const auto* weights = static_cast<const Value*>(task.w);
  for (std::int64_t n = task.row_begin; n < task.row_end; ++n) {
    const Value* w = weights + n * task.cols;
    for (std::int64_t i = 0; i < task.m; ++i) {
      const float* x = task.x + i * task.cols;
      float dot = 0;
      for (std::int64_t k = 0; k < task.cols; ++k) dot += x[k] * kToFloat(w[k]);
      task.y[i * task.y_stride + n] = dot + (task.bias != nullptr ? task.bias[n] : 0.0f);
    }
  }
}

template <class Value, float (*kToFloat)(Value)>
void DotRows(const DotRowsTask& task) {
  const auto* queries = static_cast<const float*>(task.queries);
  for (std::int64_t i = 0; i < task.count; ++i) {
    const Value* row = static_cast<const Value*>(task.rows) + i * task.dim;
    for (int r = 0; r < task.num_queries; ++r) {
      float dot = 0;
      for (std::int64_t d = 0; d < task.dim; ++d) {
        dot += kToFloat(row[d]) * queries[r * task.query_stride + d];
      }
      float& score = task.scores[r * task.stride + i];
      score = task.add ? score + dot : dot;
    }
  }
}

void DotInt8Rows(const DotRowsTask& task) {
  const auto* queries = static_cast<const std::int16_t*>(task.queries);
  for (std::int64_t i = 0; i < task.count; ++i) {
    const std::int8_t* row = static_cast<const std::int8_t*>(task.rows) + i * task.dim;
    for (int r = 0; r < task.num_queries; ++r) {
      std::int32_t sum = 0;
      for (std::int64_t d = 0; d < task.dim; ++d)
        sum += row[d] * queries[r * task.query_stride + d];
      const float dot = static_cast<float>(sum) * (task.scales[i] * task.query_scales[r]);
      float& score = task.scores[r * task.stride + i];
      score = task.add ? score + dot : dot;
    }
  }
}

void MatchCodes(const CodeMatchTask& task) {
  for (std::int64_t i = 0; i < task.count; ++i) {
    for (int r = 0; r < task.num_queries; ++r) {
      int least = 64 * task.words;
      for (int g = 0; g < task.group; ++g) {
        const std::uint64_t* code = task.codes + (i * task.group + g) * task.words;
        int different = 0;
        for (int w = 0; w < task.words; ++w) {
          different += std::popcount(code[w] ^ task.queries[r * task.words + w]);
        }
        least = std::min(least, different);
      }
      task.matches[r * task.stride + i] = static_cast<float>(64 * task.words - least);
    }
  }
}

void OrderOfRow(const float* x, std::int64_t n, std::uint32_t* order) {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(x[i] + 0.0f);
    order[i] = std::isnan(x[i]) ? 0 : (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  }
}

void TakeLargest(const TakeTask& task) {
  std::int64_t equals = task.equals;
  std::int32_t* out = task.indices;
  for (std::int64_t i = 0; i < task.count; ++i) {
    const bool equal = task.values[i] == task.threshold && equals > 0;
    if (equal) --equals;
    if (equal || task.values[i] > task.threshold) *out++ = static_cast<std::int32_t>(i);
  }
}

void LogSumExp(const float* x, int num_terms, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) {
    float largest = x[i];
    for (int j = 1; j < num_terms; ++j) largest = std::max(largest, x[j * n + i]);
    float sum = 0;
    for (int j = 0; j < num_terms; ++j) sum += std::exp(x[j * n + i] - largest);
    y[i] = largest + std::log(sum);
  }
}

void AddSoftMax(float* scores, std::int64_t n, float scale, float* sums) {
  const float largest = *std::max_element(scores, scores + n);
  float total = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    scores[i] = std::exp((scores[i] - largest) * scale);
    total += scores[i];
  }
  for (std::int64_t i = 0; i < n; ++i) sums[i] += scores[i] / total;
}

void AddSquareRoots(const float* x, std::int64_t n, float factor, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += factor * std::sqrt(std::max(x[i], 0.0f));
}

void RmsNormRow(const float* x, const float* weight, std::int64_t n, float eps, float* y) {
  float sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const float factor = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] * factor * weight[i];
}

void RotateHead(float* x, const float* cosine, const float* sine, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[half + i];
    x[i] = a * cosine[i] - b * sine[i];
    x[half + i] = b * cosine[i] + a * sine[i];
  }
}

void SwiGluRow(const float* gate, const float* up, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void AddRow(const float* x, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void F32FromBf16Row(const std::uint16_t* x, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = FloatFromBf16(x[i]);
}

void F32FromF16Row(const std::uint16_t* x, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = FloatFromF16(x[i]);
}

void Bf16FromF32Row(const float* x, std::int64_t n, std::uint16_t* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = Bf16FromFloat(x[i]);
}

// Panels of integers, by row and column.
template <bool kInt4>
struct PanelView {
  const std::byte* data;
  std::int64_t groups;

  float Scale(std::int64_t row, std::int64_t group) const {
    return FloatFromF16(reinterpret_cast<const std::uint16_t*>(data)[group * kPanelRows + row]);
  }
  int At(std::int64_t row, std::int64_t column) const {
    const std::int64_t width = kInt4 ? kGroupValues / 2 : kGroupValues;
    const std::int64_t in_group = column % kGroupValues;
    const std::byte* group =
        data + PanelScaleBytes(groups) + column / kGroupValues * kPanelRows * width;
    const std::int64_t c = in_group % width;
    const std::byte byte = group[(c / 4 * kPanelRows + row) * 4 + c % 4];
    if (!kInt4) return static_cast<std::int8_t>(byte);
    return (in_group < width ? static_cast<int>(byte) & 15 : static_cast<int>(byte) >> 4) - 8;
  }
};

template <bool kInt4>
void MultiplyPanels(const PanelProductTask& task) {
  const std::int64_t end = std::min(task.panel_end * kPanelRows, task.rows);
  for (std::int64_t n = task.panel_begin * kPanelRows; n < end; ++n) {
    const PanelView<kInt4> panel = {task.w + n / kPanelRows * PanelBytes(task.groups, kInt4),
                                    task.groups};
    for (std::int64_t i = 0; i < task.m; ++i) {
      const std::int8_t* x = task.x + i * task.groups * kGroupValues;
      float sum = 0;
      for (std::int64_t g = 0; g < task.groups; ++g) {
        int dot = 0;
        for (std::int64_t k = g * kGroupValues; k < (g + 1) * kGroupValues; ++k) {
          dot += panel.At(n % kPanelRows, k) * x[k];
        }
        sum += static_cast<float>(dot) * panel.Scale(n % kPanelRows, g) *
               task.x_scales[i * task.groups + g];
      }
      task.y[i * task.y_stride + n] = sum + (task.bias != nullptr ? task.bias[n] : 0.0f);
    }
  }
}

void QuantizeToInt8(const float* x, std::int64_t n, std::int8_t* values, float* scales,
                    std::int32_t* sums) {
  for (std::int64_t begin = 0; begin < n; begin += kGroupValues) {
    float largest = 0;
    for (std::int64_t k = begin; k < std::min(begin + kGroupValues, n); ++k) {
      largest = std::max(largest, std::abs(x[k]));
    }
    const float factor = largest > 0 ? 127 / largest : 0.0f;
    std::int32_t sum = 0;
    for (std::int64_t k = begin; k < begin + kGroupValues; ++k) {
      values[k] = static_cast<std::int8_t>(k < n ? std::nearbyint(x[k] * factor) : 0);
      sum += values[k];
    }
    scales[begin / kGroupValues] = largest / 127;
    sums[begin / kGroupValues] = sum;
  }
}

template <bool kInt4>
void WidenPanel(const std::byte* panel, std::int64_t n, float* y) {
  const PanelView<kInt4> view = {panel, (n + kGroupValues - 1) / kGroupValues};
  for (std::int64_t r = 0; r < kPanelRows; ++r) {
    for (std::int64_t k = 0; k < n; ++k) {
      y[r * n + k] = static_cast<float>(view.At(r, k)) * view.Scale(r, k / kGroupValues);
    }
  }
}

constexpr int kChains = 8;

float MulAddChains(std::int64_t rounds) {
  float sums[kChains] = {};
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (float& sum : sums) sum = sum * 0.999f + 1e-3f;
  }
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

}  // namespace

constinit const Kernels kScalarKernels = {
    .attend_bf16 = Attend<Bf16Tiles>,
    .attend_f32 = Attend<F32Tiles>,
    .attend_int8 = Attend<Int8Tiles>,
    .attend_rows_bf16 = nullptr,
    .attend_rows_int8 = nullptr,
    .product_bf16 = MultiplyRows<std::uint16_t, FloatFromBf16>,
    .product_f16 = MultiplyRows<std::uint16_t, FloatFromF16>,
    .product_f32 = MultiplyRows<float, F32>,
    .product_int8 = MultiplyPanels<false>,
    .product_int4 = MultiplyPanels<true>,
    .block_int8 = nullptr,
    .block_int4 = nullptr,
    .int8_from_f32 = QuantizeToInt8,
    .f32_from_int8 = WidenPanel<false>,
    .f32_from_int4 = WidenPanel<true>,
    .dot_rows_f32 = DotRows<float, F32>,
    .dot_rows_bf16 = DotRows<std::uint16_t, FloatFromBf16>,
    .dot_rows_int8 = DotInt8Rows,
    .code_matches = MatchCodes,
    .order_of = OrderOfRow,
    .take_largest = TakeLargest,
    .log_sum_exp = LogSumExp,
    .add_soft_max = AddSoftMax,
    .add_square_roots = AddSquareRoots,
    .rms_norm = RmsNormRow,
    .rotate = RotateHead,
    .swiglu = SwiGluRow,
    .add = AddRow,
    .f32_from_bf16 = F32FromBf16Row,
    .f32_from_f16 = F32FromF16Row,
    .bf16_from_f32 = Bf16FromF32Row,
    .probe_f32 = {.run = MulAddChains, .operations = 2 * kChains},
    .probe_bf16 = {},
};

}  // namespace esa
