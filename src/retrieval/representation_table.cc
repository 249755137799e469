#include "retrieval/representation_table.h"

#include <algorithm>

#include "ops/attention.h"
#include "ops/retrieval_kernels.h"

namespace esa {
namespace {

std::size_t ValueBytes(RepresentationType type) {
  return type == RepresentationType::kF32 ? 4 : type == RepresentationType::kBf16 ? 2 : 1;
}

int PartTokens(const RepresentationSpec& spec, int block_tokens) {
  const bool whole = spec.part_tokens <= 0 || spec.part_tokens >= block_tokens;
  return whole ? block_tokens : spec.part_tokens;
}

}  // namespace

RepresentationTable::RepresentationTable(const KvGeometry& geometry, const RepresentationSpec& spec,
                                         std::int64_t max_blocks)
    : layout_(geometry.slice),
      spec_(spec),
      num_layers_(geometry.num_layers),
      num_kv_heads_(geometry.num_kv_heads),
      max_blocks_(max_blocks),
      part_tokens_(PartTokens(spec, layout_.block_tokens)),
      parts_((layout_.block_tokens + part_tokens_ - 1) / part_tokens_) {
  Allocate(&mean_);
  if (spec.variance) Allocate(&variance_);
  if (spec.bounds) Allocate(&lower_);
  if (spec.bounds) Allocate(&upper_);
  if (spec.value_mean) Allocate(&value_mean_);
  if (spec.code_bits > 0) {
    projections_ = CodeProjections(spec.code_bits, layout_.head_dim);
    codes_ = ZeroedPages(static_cast<std::size_t>(RowOf(num_layers_, 0, 0, 0) / parts_ *
                                                  layout_.block_tokens * (spec.code_bits / 8)));
  }
}

void RepresentationTable::Allocate(Statistic* statistic) const {
  const auto rows = static_cast<std::size_t>(RowOf(num_layers_, 0, 0, 0));
  statistic->values =
      ZeroedPages(rows * static_cast<std::size_t>(layout_.head_dim) * ValueBytes(spec_.type));
  if (spec_.type == RepresentationType::kInt8) statistic->scales.resize(rows);
}

void RepresentationTable::Write(Statistic* statistic, std::int64_t row, const float* values) const {
  if (statistic->values.empty()) return;
  const auto at = static_cast<std::size_t>(row);
  const std::size_t row_bytes = static_cast<std::size_t>(layout_.head_dim) * ValueBytes(spec_.type);
  StoreRow(values, layout_.head_dim, spec_.type, statistic->values.data() + at * row_bytes,
           statistic->scales.empty() ? nullptr : &statistic->scales[at]);
}

void RepresentationTable::Seal(int layer, std::int64_t block, int kv_head, const std::byte* slice) {
  thread_local std::vector<float> values;
  const auto dim = static_cast<std::size_t>(layout_.head_dim);
  values.resize(5 * dim);
  const SliceSummary summary = {.mean = values.data(),
                                .variance = values.data() + dim,
                                .lower = values.data() + 2 * dim,
                                .upper = values.data() + 3 * dim,
                                .value_mean = values.data() + 4 * dim};
  for (int part = 0; part < parts_; ++part) {
    const int first = part * part_tokens_;
    SummarizeSlice(layout_, slice, first, std::min(part_tokens_, layout_.block_tokens - first),
                   summary);
    const std::int64_t row = RowOf(layer, kv_head, block, part);
    Write(&mean_, row, summary.mean);
    Write(&variance_, row, summary.variance);
    Write(&lower_, row, summary.lower);
    Write(&upper_, row, summary.upper);
    Write(&value_mean_, row, summary.value_mean);
  }
  if (spec_.code_bits > 0) SealCodes(layer, block, kv_head, slice);
}

std::uint64_t* RepresentationTable::CodesOf(int layer, std::int64_t block, int kv_head) const {
  const std::int64_t first = RowOf(layer, kv_head, block, 0) / parts_ * layout_.block_tokens;
  return reinterpret_cast<std::uint64_t*>(codes_.data()) + first * (spec_.code_bits / 64);
}

void RepresentationTable::SealCodes(int layer, std::int64_t block, int kv_head,
                                    const std::byte* slice) {
  thread_local std::vector<float> keys;
  const std::int64_t dim = layout_.head_dim;
  keys.resize(static_cast<std::size_t>(layout_.block_tokens * dim));
  for (int token = 0; token < layout_.block_tokens; ++token) {
    ReadKey(layout_, slice, token, keys.data() + token * dim);
  }
  MakeCodes(keys.data(), layout_.block_tokens, layout_.head_dim, projections_,
            CodesOf(layer, block, kv_head));
}

bool RepresentationTable::MeansAreAll() const {
  return parts_ == 1 && !spec_.variance && !spec_.bounds && !spec_.value_mean &&
         spec_.code_bits == 0;
}

void RepresentationTable::SetMean(int layer, std::int64_t block, int kv_head, const float* mean) {
  Write(&mean_, RowOf(layer, kv_head, block, 0), mean);
}

RepresentationRows RepresentationTable::Rows(const Statistic& statistic, int layer) const {
  if (statistic.values.empty()) return {};
  const std::int64_t first = RowOf(layer, 0, 0, 0);
  const std::size_t row_bytes = static_cast<std::size_t>(layout_.head_dim) * ValueBytes(spec_.type);
  return {.data = statistic.values.data() + static_cast<std::size_t>(first) * row_bytes,
          .scales = statistic.scales.empty() ? nullptr : statistic.scales.data() + first,
          .head_stride = max_blocks_ * parts_,
          .type = spec_.type};
}

RepresentationView RepresentationTable::View(int layer, std::int64_t num_blocks) const {
  const int words = spec_.code_bits / 64;
  const std::int64_t codes_of_head = max_blocks_ * layout_.block_tokens * words;
  return {.mean = Rows(mean_, layer),
          .variance = Rows(variance_, layer),
          .lower = Rows(lower_, layer),
          .upper = Rows(upper_, layer),
          .value_mean = Rows(value_mean_, layer),
          .codes = codes_.empty() ? nullptr : CodesOf(layer, 0, 0),
          .code_head_stride = codes_of_head,
          .code_words = words,
          .num_blocks = num_blocks,
          .parts = parts_,
          .part_tokens = part_tokens_,
          .block_tokens = layout_.block_tokens,
          .num_kv_heads = num_kv_heads_,
          .head_dim = layout_.head_dim};
}

std::uint64_t RepresentationTable::bytes() const {
  std::uint64_t total = codes_.size();
  for (const Statistic* statistic : {&mean_, &variance_, &lower_, &upper_, &value_mean_}) {
    total += statistic->values.size() + statistic->scales.size() * sizeof(float);
  }
  return total;
}

}  // namespace esa
