#include "engine/decode.h"

#include <openssl/rand.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/attention_step.h"
#include "engine/stopwatch.h"
#include "ops/attention.h"

namespace esa {

class Decoder::Pass final : public AttentionBackend {
 public:
  explicit Pass(const EngineCore& core) : core_(core), config_(core.model->config()) {}

  Status Step(std::span<Sequence* const> batch);
  Status Attend(int layer, const float* q, const float* k, const float* v, std::int64_t rows,
                float* out) override;

 private:
  // One sequence at the layer at hand.
  struct Row {
    std::optional<EngineStep> step = {};
    StepAnswers answers = {};
    std::vector<std::vector<BlockIndex>> pinned = {};  // by KV head
    std::vector<std::vector<SliceView>> views = {};    // likewise
    std::vector<float> log_weights = {};               // [num_heads]
  };

  Status Begin(int layer, Sequence& seq, Row& row, const float* q, const float* k, const float* v,
               float* out);
  Status End(int layer, Sequence& seq, Row& row, float* out);
  Status Append(int layer, Sequence& seq, std::int64_t position, const float* k, const float* v);
  Status PinSelection(int layer, Sequence& seq, Row& row);
  void Observe(int layer, const Sequence& seq, const Row& row) const;
  void AddEstimates(const Row& row, float* out) const;
  Status Audit(int layer, Sequence& seq, Row& row);
  void Act(Sequence& seq);
  void SealBlock(Sequence& seq, std::int64_t block);
  bool OpenScratch(Sequence& seq, std::int64_t block);

  const EngineCore& core_;
  const ModelConfig& config_;
  std::span<Sequence* const> batch_;
  ForwardScratch scratch_;
  std::vector<float> hidden_;  // [batch, hidden_size]
  std::vector<float> logits_;  // [batch, vocab_size]
  std::vector<std::int32_t> tokens_;
  std::vector<std::int32_t> positions_;
  std::vector<Row> rows_;
  std::vector<DecodeAttentionItem> items_;
  std::vector<float> mass_;  // [num_heads, num_blocks], of an audit
};

Status Decoder::Pass::Append(int layer, Sequence& seq, std::int64_t position, const float* k,
                             const float* v) {
  const SliceLayout& layout = core_.geometry.slice;
  const std::int64_t block = position / layout.block_tokens;
  const int at = static_cast<int>(position % layout.block_tokens);
  for (int head = 0; head < config_.num_kv_heads; ++head) {
    if (at == 0) {
      ESA_RETURN_IF_ERROR(core_.working_set->Create(seq.cache, layer, head, block));
    } else {
      core_.working_set->Pin(seq.cache.At(layer, head, block));
    }
    const std::int64_t from = static_cast<std::int64_t>(head) * config_.head_dim;
    AppendToSlice(layout, seq.cache.At(layer, head, block).slot.data(), at, 1, k + from, v + from,
                  config_.head_dim);
  }
  return {};
}

Status Decoder::Pass::PinSelection(int layer, Sequence& seq, Row& row) {
  const Stopwatch watch;
  const std::uint64_t before = core_.working_set->counters().loaded_bytes;
  row.pinned.resize(static_cast<std::size_t>(config_.num_kv_heads));
  for (int head = 0; head < config_.num_kv_heads; ++head) {
    std::vector<BlockIndex>& blocks = row.pinned[static_cast<std::size_t>(head)];
    blocks = row.answers.selections[static_cast<std::size_t>(head)];
    ESA_ASSIGN_OR_RETURN(const std::vector<BlockIndex> failed,
                         core_.working_set->PinResident(seq.cache, layer, head, blocks));
    if (failed.empty()) continue;
    seq.stats.degraded = true;
    std::erase_if(blocks, [&](BlockIndex block) {
      return std::find(failed.begin(), failed.end(), block) != failed.end();
    });
  }
  if (core_.working_set->counters().loaded_bytes != before) {
    seq.stats.load_stall_seconds += watch.Seconds();
  }
  return {};
}

// Up to what attention has to compute for the sequence.
Status Decoder::Pass::Begin(int layer, Sequence& seq, Row& row, const float* q, const float* k,
                            const float* v, float* out) {
  const SliceLayout& layout = core_.geometry.slice;
  const std::int64_t position = static_cast<std::int64_t>(seq.tokens.size()) - 1;
  const std::int64_t sealed = position / layout.block_tokens;
  const std::int64_t values = static_cast<std::int64_t>(config_.num_heads) * config_.head_dim;
  ESA_RETURN_IF_ERROR(Append(layer, seq, position, k, v));
  EngineStep& step = row.step.emplace(core_, seq, layer, position + 1 - seq.prompt_tokens,
                                      seq.Shape(position + 1, sealed, config_.num_heads),
                                      std::span(q, static_cast<std::size_t>(values)), &row.answers);
  seq.algorithm->AttentionBegin(step);
  ESA_CHECK(row.answers.has_selections);
  ESA_RETURN_IF_ERROR(PinSelection(layer, seq, row));
  Observe(layer, seq, row);

  const int group = config_.num_heads / config_.num_kv_heads;
  row.views.resize(static_cast<std::size_t>(config_.num_kv_heads));
  row.log_weights.resize(static_cast<std::size_t>(config_.num_heads));
  for (int head = 0; head < config_.num_kv_heads; ++head) {
    std::vector<SliceView>& views = row.views[static_cast<std::size_t>(head)];
    views.clear();
    const auto add = [&](std::int64_t block, std::int64_t tokens) {
      views.push_back({.data = seq.cache.At(layer, head, block).slot.data(),
                       .first_position = static_cast<std::int32_t>(block * layout.block_tokens),
                       .num_tokens = static_cast<std::int32_t>(tokens)});
    };
    for (BlockIndex block : row.pinned[static_cast<std::size_t>(head)]) {
      add(block, layout.block_tokens);
    }
    add(sealed, position % layout.block_tokens + 1);
    const std::int64_t offset = static_cast<std::int64_t>(head) * group * config_.head_dim;
    items_.push_back({.q = q + offset,
                      .out = out + offset,
                      .slices = views,
                      .log_weights = row.log_weights.data() + std::int64_t{head} * group});
    seq.stats.attended_bytes += views.size() * static_cast<std::uint64_t>(layout.slice_bytes());
  }
  return {};
}

// What follows when `out` is there.
Status Decoder::Pass::End(int layer, Sequence& seq, Row& row, float* out) {
  AddEstimates(row, out);
  ESA_RETURN_IF_ERROR(Audit(layer, seq, row));
  const std::int64_t sealed = row.step->shape().sealed_blocks;
  for (int head = 0; head < config_.num_kv_heads; ++head) {
    core_.working_set->Unpin(seq.cache.At(layer, head, sealed));
    for (BlockIndex block : row.pinned[static_cast<std::size_t>(head)]) {
      core_.working_set->Unpin(seq.cache.At(layer, head, block));
    }
  }
  seq.algorithm->AttentionEnd(*row.step);
  return {};
}

Status Decoder::Pass::Attend(int layer, const float* q, const float* k, const float* v,
                             std::int64_t rows, float* out) {
  const std::int64_t q_values = static_cast<std::int64_t>(config_.num_heads) * config_.head_dim;
  const std::int64_t kv_values = static_cast<std::int64_t>(config_.num_kv_heads) * config_.head_dim;
  const auto for_each = [&](auto&& step) -> Status {
    for (std::int64_t i = 0; i < rows; ++i) {
      Sequence& seq = *batch_[static_cast<std::size_t>(i)];
      const WorkingSetCounters& counters = core_.working_set->counters();
      const std::uint64_t loaded = counters.loaded_bytes;
      const std::int64_t failed = counters.failed_loads;
      ESA_RETURN_IF_ERROR(step(i, seq, rows_[static_cast<std::size_t>(i)]));
      seq.stats.loaded_bytes += counters.loaded_bytes - loaded;
      seq.stats.failed_loads += counters.failed_loads - failed;
    }
    return {};
  };
  rows_.resize(static_cast<std::size_t>(rows));
  items_.clear();
  ESA_RETURN_IF_ERROR(for_each([&](std::int64_t i, Sequence& seq, Row& row) {
    return Begin(layer, seq, row, q + i * q_values, k + i * kv_values, v + i * kv_values,
                 out + i * q_values);
  }));
  DecodeAttention(core_.geometry.slice, items_, config_.num_heads / config_.num_kv_heads,
                  1.0f / std::sqrt(static_cast<float>(config_.head_dim)));
  return for_each([&](std::int64_t i, Sequence& seq, Row& row) {
    return End(layer, seq, row, out + i * q_values);
  });
}

void Decoder::Pass::Observe(int layer, const Sequence& seq, const Row& row) const {
  if (core_.observer == nullptr || !*core_.observer) return;
  for (int head = 0; head < config_.num_kv_heads; ++head) {
    (*core_.observer)({.request = seq.index,
                       .step = row.step->step(),
                       .layer = layer,
                       .kv_head = head,
                       .blocks = row.pinned[static_cast<std::size_t>(head)],
                       .sealed_blocks = row.step->shape().sealed_blocks});
  }
}

// Merges each estimate into its head's output as one more key.
void Decoder::Pass::AddEstimates(const Row& row, float* out) const {
  for (const StepAnswers::Estimate& estimate : row.answers.estimates) {
    const float attended = row.log_weights[static_cast<std::size_t>(estimate.head)];
    const float share = 1.0f / (1.0f + std::exp(attended - estimate.log_weight));
    float* to = out + static_cast<std::int64_t>(estimate.head) * config_.head_dim;
    for (std::size_t i = 0; i < estimate.value.size(); ++i) {
      to[i] += share * (estimate.value[i] - to[i]);
    }
  }
}

Status Decoder::Pass::Audit(int layer, Sequence& seq, Row& row) {
  EngineStep& step = *row.step;
  if (core_.audit.every == 0 || (step.step() - 1) % core_.audit.every != 0) return {};
  const Stopwatch watch;
  const std::int64_t blocks = step.shape().num_blocks();
  mass_.resize(static_cast<std::size_t>(config_.num_heads * blocks));
  ESA_RETURN_IF_ERROR(step.AttentionMass(mass_));
  seq.missed.resize(static_cast<std::size_t>(config_.num_layers * config_.num_heads));
  double layer_missed = 0;
  for (int head = 0; head < config_.num_heads; ++head) {
    const float* mass = mass_.data() + head * blocks;
    double covered = mass[blocks - 1];
    for (BlockIndex block :
         row.pinned[static_cast<std::size_t>(head / step.shape().group_size())]) {
      covered += mass[block];
    }
    const double missed = std::max(0.0, 1.0 - covered);
    seq.missed[static_cast<std::size_t>(layer * config_.num_heads + head)] += missed;
    seq.stats.largest_missed_mass = std::max(seq.stats.largest_missed_mass, missed);
    layer_missed += missed / config_.num_heads;
  }
  seq.over_threshold |= core_.audit.threshold > 0 && layer_missed > core_.audit.threshold;
  seq.stats.audit_seconds += watch.Seconds();
  if (layer == config_.num_layers - 1) ++seq.stats.audited_steps;
  return {};
}

// Between steps, so that all layers of one are decoded alike.
void Decoder::Pass::Act(Sequence& seq) {
  if (!std::exchange(seq.over_threshold, false)) return;
  if (core_.audit.action == AuditAction::kReport || seq.stats.fell_back_to_dense) return;
  if (core_.audit.action == AuditAction::kWiden && seq.algorithm->Widen()) {
    seq.stats.widened = true;
    return;
  }
  seq.FallBackToDense(core_.retrieval);
}

// KV made under a sparse selection must never serve another request: such a block has an id of
// random bits, known to this sequence alone, and leaves the store with it.
bool Decoder::Pass::OpenScratch(Sequence& seq, std::int64_t block) {
  BlockStore* store = core_.working_set->store();
  if (store == nullptr || !core_.may_spill) return false;
  const std::size_t size = static_cast<std::size_t>(core_.geometry.slice.block_tokens);
  BlockId& id = seq.cache.id(block);
  ESA_CHECK(RAND_bytes(id.bytes.data(), static_cast<int>(id.bytes.size())) == 1);
  const BlockId parent = block > 0 ? seq.cache.id(block - 1) : core_.hasher->Root();
  const std::span<const std::int32_t> tokens(
      seq.tokens.data() + static_cast<std::size_t>(block) * size, size);
  Result<bool> opened = store->Begin({.id = id, .tokens = tokens}, parent);
  if (!opened || !*opened) {
    if (!opened) core_.working_set->CountFailedDump(opened.error());
    return false;
  }
  store->Pin({&id, 1});
  seq.pinned.push_back(id);
  seq.scratch.push_back(id);
  return true;
}

void Decoder::Pass::SealBlock(Sequence& seq, std::int64_t block) {
  const bool dump = OpenScratch(seq, block);
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    const std::span<const float> means = seq.SealLayer(layer, block);
    if (dump) core_.working_set->Dump(seq.cache, layer, block, means.data());
  }
  seq.algorithm->BlockSealed(static_cast<BlockIndex>(block));
}

Status Decoder::Pass::Step(std::span<Sequence* const> batch) {
  batch_ = batch;
  const std::size_t rows = batch.size();
  tokens_.resize(rows);
  positions_.resize(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    tokens_[i] = batch[i]->tokens.back();
    positions_[i] = static_cast<std::int32_t>(batch[i]->tokens.size()) - 1;
  }
  hidden_.resize(rows * static_cast<std::size_t>(config_.hidden_size));
  logits_.resize(rows * static_cast<std::size_t>(config_.vocab_size));
  core_.model->Embed(tokens_, hidden_.data());
  const ForwardBatch forward{
      .rows = static_cast<std::int64_t>(rows), .positions = positions_, .hidden = hidden_.data()};
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    ESA_RETURN_IF_ERROR(core_.model->ForwardLayer(layer, forward, *this, scratch_));
  }
  core_.model->Logits(hidden_.data(), static_cast<std::int64_t>(rows), logits_.data());
  const int block_tokens = core_.geometry.slice.block_tokens;
  for (std::size_t i = 0; i < rows; ++i) {
    const float* from = logits_.data() + i * static_cast<std::size_t>(config_.vocab_size);
    batch[i]->logits.assign(from, from + config_.vocab_size);
    const std::int64_t length = positions_[i] + 1;
    if (length % block_tokens == 0) SealBlock(*batch[i], length / block_tokens - 1);
    Act(*batch[i]);
  }
  return {};
}

Decoder::Decoder(const EngineCore& core) : pass_(std::make_unique<Pass>(core)) {}
Decoder::~Decoder() = default;
Status Decoder::Step(std::span<Sequence* const> batch) { return pass_->Step(batch); }

}  // namespace esa
