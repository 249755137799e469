#include "engine/prefill.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>

#include "base/status_macros.h"
#include "engine/attention_step.h"
#include "engine/prefill_selection.h"
#include "engine/stopwatch.h"
#include "ops/attention.h"

namespace esa {
namespace {

constexpr int kRestoreTries = 3;

class PrefillPass final : public AttentionBackend {
 public:
  PrefillPass(const EngineCore& core, Sequence& sequence)
      : core_(core),
        seq_(sequence),
        config_(core.model->config()),
        block_tokens_(core.geometry.slice.block_tokens),
        prompt_(sequence.prompt_tokens),
        num_blocks_((prompt_ + block_tokens_ - 1) / block_tokens_),
        to_dump_(static_cast<std::size_t>(num_blocks_)),
        in_store_(static_cast<std::size_t>(num_blocks_)) {
    if (core.prefill.attention == PrefillAttention::kSparse) {
      selection_.emplace(core.geometry, core.prefill, num_blocks_);
    }
  }

  // Restores what the store has, if that is fewer than `restore_below` tokens, and computes the
  // rest.
  Status OpenAndRun(std::int64_t restore_below, const PrefillProgress& progress);
  // Computes tokens [restored, prompt); those before come from the store.
  Status Run(std::int64_t restored, bool keep_kv, const PrefillProgress& progress);

  Status Attend(int layer, const float* q, const float* k, const float* v, std::int64_t rows,
                float* out) override;

  // Gives up what was computed and dumped so far.
  void Abandon();
  // Removes from the store what it did not take whole: such a block would stay open, and no later
  // request could store it.
  void CloseBlocks();

  bool restore_failed() const { return restore_failed_; }
  std::int64_t restored() const { return restored_; }           // tokens, by the latest OpenAndRun
  const std::vector<float>& hidden() const { return hidden_; }  // [computed tokens, hidden_size]

 private:
  // Opens the prompt's blocks in the store; returns how many tokens come from it.
  std::int64_t OpenBlocks(std::int64_t restore_below);
  void OpenBlock(const BlockKey& key, std::int64_t block);
  Status LoadRepresentations(std::int64_t restored);
  Status PinRestored(int layer, std::int64_t restored);
  Status AppendRows(int layer, const float* k, const float* v, std::int64_t rows);
  void SealBlocks(int layer, std::int64_t from, std::int64_t to);
  void Describe(int layer, std::int64_t from, std::int64_t to);
  void AttendToAll(int layer, const PrefillAttentionItem& chunk);
  void AttendToSelected(int layer, const PrefillAttentionItem& chunk);
  SliceView View(int layer, int head, std::int64_t block, std::int64_t end);
  void SelectFirst(int layer);
  void ReleaseLayer(int layer, bool keep_kv);
  Status CheckLayerFits() const;

  const EngineCore& core_;
  Sequence& seq_;
  const ModelConfig& config_;
  const int block_tokens_;
  const std::int64_t prompt_;
  const std::int64_t num_blocks_;
  std::vector<bool> to_dump_;   // by block: it is open in the store
  std::vector<bool> in_store_;  // by block: the store holds it
  std::int64_t restored_ = 0;
  bool restore_failed_ = false;
  std::vector<float> hidden_;
  std::vector<float> last_query_;              // [num_heads, head_dim]
  std::int64_t chunk_begin_ = 0;               // position of the first row given to Attend
  std::optional<PrefillSelection> selection_;  // of sparse prefill
  std::int64_t attended_blocks_ = 0;           // sums over queries' tiles, heads and layers
  std::int64_t all_blocks_ = 0;
};

Status PrefillPass::CheckLayerFits() const {
  // Beside the layer at hand, the block that is not full of every other one: no store takes it.
  const std::int64_t tails = prompt_ % block_tokens_ == 0 ? 0 : config_.num_layers - 1;
  const std::int64_t slots = (num_blocks_ + tails) * config_.num_kv_heads;
  const SlicePool& pool = core_.working_set->pool();
  if (slots <= pool.num_slots()) return {};
  return ResourceExhausted("the KV of one layer of this prompt, and the ends of the others, need " +
                           std::to_string(slots * pool.slot_bytes()) + " bytes (" +
                           std::to_string(prompt_) + " tokens), KV memory is " +
                           std::to_string(pool.num_slots() * pool.slot_bytes()) +
                           " bytes: give it more");
}

// A store that takes no block (full, read-only) costs the dump, not the answer.
void PrefillPass::OpenBlock(const BlockKey& key, std::int64_t block) {
  BlockStore* store = core_.working_set->store();
  const BlockId parent = block == 0 ? core_.hasher->Root() : seq_.cache.id(block - 1);
  const Result<bool> opened =
      store->Begin(key, parent, core_.may_spill ? Admission::kRequired : Admission::kOptional);
  if (!opened) {
    core_.working_set->CountFailedDump(opened.error());
    return;
  }
  to_dump_[static_cast<std::size_t>(block)] = *opened;
  // Behind a block that is missing others may be there.
  if (!*opened) in_store_[static_cast<std::size_t>(block)] = store->Lookup({&key, 1})[0];
}

std::int64_t PrefillPass::OpenBlocks(std::int64_t restore_below) {
  BlockStore* store = core_.working_set->store();
  const std::int64_t full = prompt_ / block_tokens_;
  if (store == nullptr) return 0;
  const std::span<const std::int32_t> tokens(seq_.tokens.data(), static_cast<std::size_t>(prompt_));
  const std::vector<BlockId> ids = core_.hasher->Chain(tokens);
  std::vector<BlockKey> keys;
  for (std::int64_t b = 0; b < full; ++b) {
    seq_.cache.id(b) = ids[static_cast<std::size_t>(b)];
    keys.push_back({.id = ids[static_cast<std::size_t>(b)],
                    .tokens = tokens.subspan(static_cast<std::size_t>(b * block_tokens_),
                                             static_cast<std::size_t>(block_tokens_))});
  }
  if (seq_.pinned.empty()) {
    store->Pin(ids);
    seq_.pinned = ids;
  }
  const auto stored = static_cast<std::int64_t>(store->LookupPrefix(keys));
  const std::int64_t chunk = core_.prefill_chunk_tokens;
  std::int64_t restored = std::min(stored * block_tokens_, prompt_ - 1) / chunk * chunk;
  if (restored >= restore_below) restored = 0;
  for (std::int64_t b = 0; b < full; ++b) {
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      for (int head = 0; head < config_.num_kv_heads; ++head) {
        seq_.cache.At(layer, head, b).durable = b * block_tokens_ < restored;
      }
    }
    in_store_[static_cast<std::size_t>(b)] = b < stored;
    if (b >= stored) OpenBlock(keys[static_cast<std::size_t>(b)], b);
  }
  return restored;
}

Status PrefillPass::OpenAndRun(std::int64_t restore_below, const PrefillProgress& progress) {
  restore_failed_ = false;
  restored_ = OpenBlocks(restore_below);
  if (Status loaded = LoadRepresentations(restored_); !loaded) {
    restore_failed_ = true;
    return loaded;
  }
  seq_.stats.restored_tokens = restored_;
  return Run(restored_, true, progress);
}

void PrefillPass::Abandon() {
  core_.working_set->Finish(seq_.cache);
  CloseBlocks();
}

void PrefillPass::CloseBlocks() {
  BlockStore* store = core_.working_set->store();
  for (std::int64_t b = 0; store != nullptr && b < num_blocks_; ++b) {
    if (!to_dump_[static_cast<std::size_t>(b)]) continue;
    store->Abandon(seq_.cache.id(b));
    to_dump_[static_cast<std::size_t>(b)] = false;
  }
}

Status PrefillPass::LoadRepresentations(std::int64_t restored) {
  const std::int64_t blocks = restored / block_tokens_;
  if (blocks == 0 || !seq_.representations.MeansAreAll()) return {};
  BlockStore* store = core_.working_set->store();
  const std::size_t floats =
      static_cast<std::size_t>(core_.geometry.slices_per_block() * config_.head_dim);
  // Shared with the working set, which keeps it as long as a store that hangs may write to it.
  const auto buffer =
      std::make_shared<std::vector<float>>(floats * static_cast<std::size_t>(blocks));
  std::vector<SliceRead> reads;
  for (std::int64_t b = 0; b < blocks; ++b) {
    float* at = buffer->data() + static_cast<std::size_t>(b) * floats;
    reads.push_back({.id = seq_.cache.id(b),
                     .part = kRepresentations,
                     .destination = reinterpret_cast<std::byte*>(at)});
  }
  const Stopwatch watch;
  ESA_ASSIGN_OR_RETURN(const TaskId task, store->Load(std::move(reads)));
  ESA_ASSIGN_OR_RETURN(const TaskResult result, core_.working_set->WaitTask(task, buffer));
  if (!result.failures.empty()) return result.failures.front().error;
  seq_.stats.restore_seconds += watch.Seconds();
  seq_.stats.restored_bytes += result.bytes;
  const float* from = buffer->data();
  for (std::int64_t b = 0; b < blocks; ++b) {
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      for (int head = 0; head < config_.num_kv_heads; ++head, from += config_.head_dim) {
        seq_.representations.SetMean(layer, b, head, from);
      }
    }
  }
  return {};
}

Status PrefillPass::PinRestored(int layer, std::int64_t restored) {
  if (restored == 0) return {};
  std::vector<BlockIndex> blocks(static_cast<std::size_t>(restored / block_tokens_));
  std::iota(blocks.begin(), blocks.end(), 0);
  const Stopwatch watch;
  const std::uint64_t before = core_.working_set->counters().loaded_bytes;
  for (int head = 0; head < config_.num_kv_heads; ++head) {
    ESA_ASSIGN_OR_RETURN(const std::vector<BlockIndex> failed,
                         core_.working_set->PinResident(seq_.cache, layer, head, blocks));
    if (!failed.empty()) {
      restore_failed_ = true;
      return IoError("a stored block of the prompt could not be loaded");
    }
    if (seq_.representations.MeansAreAll()) continue;
    for (const BlockIndex block : blocks) {
      seq_.representations.Seal(layer, block, head, seq_.cache.At(layer, head, block).slot.data());
    }
  }
  seq_.stats.restored_bytes += core_.working_set->counters().loaded_bytes - before;
  seq_.stats.restore_seconds += watch.Seconds();
  return {};
}

Status PrefillPass::Run(std::int64_t restored, bool keep_kv, const PrefillProgress& progress) {
  ESA_RETURN_IF_ERROR(CheckLayerFits());
  const std::int64_t computed = prompt_ - restored;
  const std::int64_t width = config_.hidden_size;
  const std::int64_t chunk = core_.prefill_chunk_tokens;
  hidden_.resize(static_cast<std::size_t>(computed * width));
  core_.model->Embed(
      std::span(seq_.tokens)
          .subspan(static_cast<std::size_t>(restored), static_cast<std::size_t>(computed)),
      hidden_.data());
  std::vector<std::int32_t> positions(static_cast<std::size_t>(computed));
  std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(restored));
  ForwardScratch scratch;
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    ESA_RETURN_IF_ERROR(PinRestored(layer, restored));
    Describe(layer, 0, restored / block_tokens_);
    for (std::int64_t at = 0; at < computed; at += chunk) {
      const std::int64_t rows = std::min(chunk, computed - at);
      chunk_begin_ = restored + at;
      const ForwardBatch batch{.rows = rows,
                               .positions = std::span(positions).subspan(
                                   static_cast<std::size_t>(at), static_cast<std::size_t>(rows)),
                               .hidden = hidden_.data() + at * width};
      ESA_RETURN_IF_ERROR(core_.model->ForwardLayer(layer, batch, *this, scratch));
      if (progress) {
        progress((layer + static_cast<double>(at + rows) / static_cast<double>(computed)) /
                 config_.num_layers);
      }
    }
    if (keep_kv) SelectFirst(layer);
    ReleaseLayer(layer, keep_kv);
  }
  if (all_blocks_ > 0) {
    seq_.stats.prefill_share =
        static_cast<double>(attended_blocks_) / static_cast<double>(all_blocks_);
  }
  return {};
}

Status PrefillPass::AppendRows(int layer, const float* k, const float* v, std::int64_t rows) {
  const std::int64_t stride = static_cast<std::int64_t>(config_.num_kv_heads) * config_.head_dim;
  for (std::int64_t row = 0; row < rows;) {
    const std::int64_t position = chunk_begin_ + row;
    const std::int64_t block = position / block_tokens_;
    const int at = static_cast<int>(position % block_tokens_);
    const int count = static_cast<int>(std::min<std::int64_t>(block_tokens_ - at, rows - row));
    for (int head = 0; head < config_.num_kv_heads; ++head) {
      if (at == 0) {
        ESA_RETURN_IF_ERROR(core_.working_set->Create(seq_.cache, layer, head, block));
      }
      const std::int64_t from = row * stride + head * config_.head_dim;
      AppendToSlice(core_.geometry.slice, seq_.cache.At(layer, head, block).slot.data(), at, count,
                    k + from, v + from, stride);
    }
    row += count;
  }
  return {};
}

void PrefillPass::SealBlocks(int layer, std::int64_t from, std::int64_t to) {
  for (std::int64_t block = from; block < to; ++block) {
    const std::span<const float> means = seq_.SealLayer(layer, block);
    for (int head = 0; head < config_.num_kv_heads; ++head) {
      SliceEntry& entry = seq_.cache.At(layer, head, block);
      // Stored, yet computed again: its chunk begins before the end of what is stored, or a block
      // before it was missing.
      entry.durable = in_store_[static_cast<std::size_t>(block)];
    }
    if (to_dump_[static_cast<std::size_t>(block)]) {
      core_.working_set->Dump(seq_.cache, layer, block, means.data());
    }
  }
}

void PrefillPass::Describe(int layer, std::int64_t from, std::int64_t to) {
  if (!selection_) return;
  const std::int64_t heads = config_.num_kv_heads;
#pragma omp parallel for schedule(static)
  for (std::int64_t i = from * heads; i < to * heads; ++i) {
    const int head = static_cast<int>(i % heads);
    selection_->Describe(i / heads, head, seq_.cache.At(layer, head, i / heads).slot.data());
  }
}

// The tokens of a block before position `end`.
SliceView PrefillPass::View(int layer, int head, std::int64_t block, std::int64_t end) {
  const std::int64_t start = block * block_tokens_;
  return {
      .data = seq_.cache.At(layer, head, block).slot.data(),
      .first_position = static_cast<std::int32_t>(start),
      .num_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(block_tokens_, end - start))};
}

// `chunk` is that of the first KV head, without its slices.
void PrefillPass::AttendToAll(int layer, const PrefillAttentionItem& chunk) {
  const int heads = config_.num_kv_heads;
  const int group = config_.num_heads / heads;
  const std::int64_t end = chunk.first_position + chunk.num_rows;
  const std::int64_t blocks = (end + block_tokens_ - 1) / block_tokens_;
  std::vector<SliceView> views;
  views.reserve(static_cast<std::size_t>(blocks * heads));
  std::vector<PrefillAttentionItem> items(static_cast<std::size_t>(heads), chunk);
  for (int head = 0; head < heads; ++head) {
    PrefillAttentionItem& item = items[static_cast<std::size_t>(head)];
    item.slices = {views.data() + views.size(), static_cast<std::size_t>(blocks)};
    for (std::int64_t b = 0; b < blocks; ++b) views.push_back(View(layer, head, b, end));
    const std::int64_t offset = static_cast<std::int64_t>(head) * group * config_.head_dim;
    item.q += offset;
    item.out += offset;
  }
  PrefillAttention(core_.geometry.slice, items, group,
                   1.0f / std::sqrt(static_cast<float>(config_.head_dim)));
}

// Likewise.
void PrefillPass::AttendToSelected(int layer, const PrefillAttentionItem& chunk) {
  const std::int64_t heads = config_.num_kv_heads;
  const int group = config_.num_heads / config_.num_kv_heads;
  const std::int64_t tile = selection_->tile_tokens();
  const std::int64_t num_items = (chunk.num_rows + tile - 1) / tile * heads;
  std::vector<PrefillAttentionItem> items(static_cast<std::size_t>(num_items), chunk);
  std::vector<std::vector<SliceView>> views(static_cast<std::size_t>(num_items));
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < num_items; ++i) {
    const std::int64_t row = i / heads * tile;
    const int head = static_cast<int>(i % heads);
    PrefillAttentionItem& item = items[static_cast<std::size_t>(i)];
    const std::int64_t offset =
        row * chunk.row_stride + static_cast<std::int64_t>(head) * group * config_.head_dim;
    item.q += offset;
    item.out += offset;
    item.num_rows = std::min(tile, chunk.num_rows - row);
    item.first_position += static_cast<std::int32_t>(row);
    thread_local std::vector<BlockIndex> blocks;
    const std::int64_t near = selection_->Select({.q = item.q,
                                                  .row_stride = item.row_stride,
                                                  .first_position = item.first_position,
                                                  .num_rows = static_cast<int>(item.num_rows),
                                                  .kv_head = head,
                                                  .group = group},
                                                 &blocks);
    const std::int64_t end = item.first_position + item.num_rows;
    std::vector<SliceView>& of_item = views[static_cast<std::size_t>(i)];
    for (const BlockIndex block : blocks) of_item.push_back(View(layer, head, block, end));
    for (std::int64_t b = near; b * block_tokens_ < end; ++b) {
      of_item.push_back(View(layer, head, b, end));
    }
    item.slices = of_item;
  }
  for (const PrefillAttentionItem& item : items) {
    attended_blocks_ += std::ssize(item.slices);
    all_blocks_ += item.first_position / block_tokens_ + 1;
  }
  PrefillAttention(core_.geometry.slice, items, group,
                   1.0f / std::sqrt(static_cast<float>(config_.head_dim)));
}

Status PrefillPass::Attend(int layer, const float* q, const float* k, const float* v,
                           std::int64_t rows, float* out) {
  ESA_RETURN_IF_ERROR(AppendRows(layer, k, v, rows));
  const std::int64_t end = chunk_begin_ + rows;
  const std::int64_t values = static_cast<std::int64_t>(config_.num_heads) * config_.head_dim;
  const PrefillAttentionItem chunk = {.q = q,
                                      .out = out,
                                      .row_stride = values,
                                      .num_rows = rows,
                                      .first_position = static_cast<std::int32_t>(chunk_begin_),
                                      .slices = {}};
  Describe(layer, chunk_begin_ / block_tokens_, end / block_tokens_);
  if (selection_) {
    AttendToSelected(layer, chunk);
  } else {
    AttendToAll(layer, chunk);
  }
  SealBlocks(layer, chunk_begin_ / block_tokens_, end / block_tokens_);
  if (end == prompt_) last_query_.assign(q + (rows - 1) * values, q + rows * values);
  return {};
}

void PrefillPass::SelectFirst(int layer) {
  const SequenceShape shape = seq_.Shape(prompt_, prompt_ / block_tokens_, config_.num_heads);
  StepAnswers answers;
  EngineStep step(core_, seq_, layer, 0, shape, last_query_, &answers);
  seq_.algorithm->AttentionEnd(step);
}

void PrefillPass::ReleaseLayer(int layer, bool keep_kv) {
  if (!keep_kv) {
    core_.working_set->DropLayer(seq_.cache, layer);
    return;
  }
  for (int head = 0; head < config_.num_kv_heads; ++head) {
    for (std::int64_t b = 0; b < num_blocks_; ++b) {
      core_.working_set->Unpin(seq_.cache.At(layer, head, b));
    }
  }
}

}  // namespace

Status Prefill(const EngineCore& core, Sequence& sequence, const PrefillProgress& progress) {
  PrefillPass pass(core, sequence);
  Status done = pass.OpenAndRun(std::numeric_limits<std::int64_t>::max(), progress);
  // A stored block that turned out to be corrupt is in quarantine now: restore up to it. Where
  // that is no less than before, the store cannot read, and all is computed; as after some tries.
  for (int tries = 1; !done && pass.restore_failed(); ++tries) {
    pass.Abandon();
    done = pass.OpenAndRun(tries <= kRestoreTries ? pass.restored() : 0, progress);
  }
  if (!done) {
    pass.Abandon();
    return done;
  }
  core.working_set->DrainDumps();
  pass.CloseBlocks();
  core.working_set->RestoreKept(sequence.cache);
  for (std::int64_t b = 0; b < sequence.prompt_tokens / core.geometry.slice.block_tokens; ++b) {
    sequence.algorithm->BlockSealed(static_cast<BlockIndex>(b));
  }
  const std::int64_t width = core.model->config().hidden_size;
  sequence.logits.resize(static_cast<std::size_t>(core.model->config().vocab_size));
  core.model->Logits(pass.hidden().data() + pass.hidden().size() - static_cast<std::size_t>(width),
                     1, sequence.logits.data());
  return {};
}

Result<std::vector<float>> PrefillLogits(const EngineCore& core, Sequence& sequence) {
  PrefillPass pass(core, sequence);
  ESA_RETURN_IF_ERROR(pass.Run(0, false, {}));
  const std::int64_t rows = sequence.prompt_tokens;
  std::vector<float> logits(static_cast<std::size_t>(rows * core.model->config().vocab_size));
  core.model->Logits(pass.hidden().data(), rows, logits.data());
  return logits;
}

}  // namespace esa
