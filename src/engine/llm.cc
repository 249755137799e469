#include "esa/llm.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "base/status_macros.h"
#include "engine/decode.h"
#include "engine/made_up_kv.h"
#include "engine/output_text.h"
#include "engine/prefill.h"
#include "engine/prefill_selection.h"
#include "engine/sampler.h"
#include "engine/scratch_folder.h"
#include "engine/sequence_slots.h"
#include "engine/stopwatch.h"
#include "esa/plugin.h"
#include "model/chat_template.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "ops/compute_threads.h"

namespace esa {
namespace {

// At kMatrixRows rows products change their order of summation: a batch stays below, so that a
// sequence's tokens do not depend on its company.
constexpr std::size_t kMaxBatch = 15;

struct Request {
  std::size_t index = 0;
  std::unique_ptr<Sequence> sequence;
  Sampler sampler;
  OutputText output;
  std::string finish_reason = {};
  Stopwatch arrival = {};
};

Status CheckEngineConfig(const EngineConfig& config) {
  if (config.block_tokens < 2 || config.block_tokens % 2 != 0 || config.block_tokens > 4096) {
    return InvalidArgument("block_tokens is " + std::to_string(config.block_tokens) +
                           ", expected an even number from 2 to 4096");
  }
  if (config.prefill_chunk_tokens < config.block_tokens ||
      config.prefill_chunk_tokens % config.block_tokens != 0) {
    return InvalidArgument(
        "prefill_chunk_tokens is " + std::to_string(config.prefill_chunk_tokens) +
        ", expected a multiple of block_tokens (" + std::to_string(config.block_tokens) + ")");
  }
  if (!(config.prefill.ratio >= 0 && config.prefill.ratio <= 1)) {
    return InvalidArgument("prefill.ratio is " + std::to_string(config.prefill.ratio) +
                           ", expected a share from 0 to 1");
  }
  if (config.audit.every < 0 || !(config.audit.threshold >= 0 && config.audit.threshold <= 1)) {
    return InvalidArgument("audit: expected every to be at least 0 and threshold from 0 to 1");
  }
  return {};
}

}  // namespace

struct LLM::State {
  EngineConfig config;
  std::unique_ptr<Model> model;
  std::unique_ptr<Tokenizer> tokenizer;  // null where the folder has none
  std::optional<ChatTemplate> chat;
  KvGeometry geometry;
  std::unique_ptr<BlockHasher> hasher;
  std::unique_ptr<ScratchFolder> scratch_folder;
  std::unique_ptr<BlockStore> store;
  std::unique_ptr<SlicePool> pool;
  std::unique_ptr<RetrievalPool> retrieval;
  std::unique_ptr<WorkingSet> working_set;
  SelectionObserver observer;
  AuditTotals audits;

  std::int64_t NeededSlots(std::int64_t tokens) const {
    const int block = geometry.slice.block_tokens;
    return (tokens + block - 1) / block * geometry.slices_per_block();
  }
  void CountAudits(const Sequence& sequence) {
    const RequestStats& stats = sequence.stats;
    audits.steps += stats.audited_steps;
    audits.seconds += stats.audit_seconds;
    audits.widened += stats.widened ? 1 : 0;
    audits.fell_back_to_dense += stats.fell_back_to_dense ? 1 : 0;
    audits.num_heads = model->config().num_heads;
    audits.missed.resize(std::max(audits.missed.size(), sequence.missed.size()));
    for (std::size_t i = 0; i < sequence.missed.size(); ++i) audits.missed[i] += sequence.missed[i];
  }
  EngineCore Core(bool may_spill) const {
    return {.model = model.get(),
            .hasher = hasher.get(),
            .working_set = working_set.get(),
            .retrieval = retrieval.get(),
            .observer = &observer,
            .geometry = geometry,
            .audit = config.audit,
            .prefill = config.prefill,
            .prefill_chunk_tokens = config.prefill_chunk_tokens,
            .may_spill = may_spill};
  }
  Status OpenStore(const StoreConfig& store_config);
  Status UseScratchStore();
  Result<std::vector<std::int32_t>> Tokens(const Prompt& prompt) const;
  Result<std::unique_ptr<Sequence>> NewSequence(std::vector<std::int32_t> tokens, int max_tokens);
  SequenceSlots SlotsOf(const Sequence& sequence, int max_tokens) const;
  void FinishSequence(Sequence& sequence);
  bool IsEos(std::int32_t id) const;
  Status GenerateBatch(const EngineCore& core, std::span<Request> batch,
                       const SamplingParams& params, const StreamCallback& stream,
                       const ProgressCallback& progress);
  Status PrefillRequest(const EngineCore& core, Request& request, const ProgressCallback& progress);
  void TakeToken(Request& request, const SamplingParams& params, const StreamCallback& stream);
};

Status LLM::State::OpenStore(const StoreConfig& store_config) {
  const BlockLayout layout{
      .block_tokens = static_cast<std::uint32_t>(geometry.slice.block_tokens),
      .num_slices = static_cast<std::uint32_t>(geometry.slices_per_block()),
      .slice_bytes = static_cast<std::uint64_t>(geometry.slice.slice_bytes()),
      .representation_bytes =
          static_cast<std::uint32_t>(geometry.slice.head_dim) * std::uint32_t{sizeof(float)}};
  ESA_ASSIGN_OR_RETURN(store, CreateBlockStore(store_config, layout));
  // Where every core computes, threads of the store would only take turns with those that do.
  working_set = std::make_unique<WorkingSet>(
      pool.get(), store.get(), std::chrono::milliseconds(config.store.timeout_ms),
      ComputeThreadsFillCores() ? Crew(OnComputeThreads) : Crew());
  return {};
}

Status LLM::State::UseScratchStore() {
  ESA_ASSIGN_OR_RETURN(scratch_folder, ScratchFolder::Create());
  StoreConfig scratch = config.store;
  scratch.backend = "posix";
  scratch.storage_backends = {scratch_folder->path()};
  return OpenStore(scratch);
}

Result<std::vector<std::int32_t>> LLM::State::Tokens(const Prompt& prompt) const {
  const int given = !prompt.prompt.empty() + !prompt.messages.empty() + !prompt.token_ids.empty();
  if (given != 1) {
    return InvalidArgument("a prompt has " + std::string(given == 0 ? "nothing" : "several parts") +
                           ", expected one of text, messages, token ids");
  }
  std::vector<std::int32_t> tokens = prompt.token_ids;
  if (tokens.empty() && tokenizer == nullptr) {
    return InvalidArgument(config.model_dir + " has no tokenizer.json: give token ids");
  }
  if (!prompt.messages.empty()) {
    if (!chat) return InvalidArgument(config.model_dir + " has no chat template");
    std::vector<ChatMessage> messages;
    for (const Message& m : prompt.messages) messages.push_back({m.role, m.content});
    ESA_ASSIGN_OR_RETURN(const std::string text, chat->Render(messages));
    tokens = tokenizer->Encode(text, {.add_special_tokens = false});
  } else if (!prompt.prompt.empty()) {
    tokens = tokenizer->Encode(prompt.prompt);
  }
  for (std::int32_t id : tokens) {
    if (id >= 0 && id < model->config().vocab_size) continue;
    return InvalidArgument("token id " + std::to_string(id) +
                           " is not in the model's vocabulary of " +
                           std::to_string(model->config().vocab_size));
  }
  if (tokens.empty()) return InvalidArgument("a prompt has no tokens");
  return tokens;
}

Result<std::unique_ptr<Sequence>> LLM::State::NewSequence(std::vector<std::int32_t> tokens,
                                                          int max_tokens) {
  const std::int64_t length = static_cast<std::int64_t>(tokens.size()) + max_tokens;
  const std::int64_t blocks = length / geometry.slice.block_tokens + 1;
  ESA_ASSIGN_OR_RETURN(auto algorithm,
                       CreateSparseAttention(config.sparse.name, config.sparse.options));
  auto sequence = std::make_unique<Sequence>(geometry, blocks, std::move(algorithm));
  sequence->prompt_tokens = static_cast<std::int64_t>(tokens.size());
  sequence->stats.prompt_tokens = sequence->prompt_tokens;
  sequence->tokens = std::move(tokens);
  return sequence;
}

SequenceSlots LLM::State::SlotsOf(const Sequence& sequence, int max_tokens) const {
  const std::int64_t tokens = sequence.prompt_tokens + max_tokens;
  const SequenceShape shape =
      sequence.Shape(tokens, tokens / geometry.slice.block_tokens, model->config().num_heads);
  return esa::SlotsOf(geometry, shape, *sequence.algorithm);
}

void LLM::State::FinishSequence(Sequence& sequence) {
  sequence.Finish(retrieval.get());
  working_set->Finish(sequence.cache);
  if (store == nullptr) return;
  store->Unpin(sequence.pinned);
  for (const BlockId& id : sequence.scratch) {
    // Removing may only fail where the block was never committed; either way it is gone.
    store->Abandon(id);
    (void)store->Remove(id);
  }
}

bool LLM::State::IsEos(std::int32_t id) const {
  const auto& eos = model->config().eos_ids;
  if (std::find(eos.begin(), eos.end(), id) != eos.end()) return true;
  return tokenizer != nullptr && tokenizer->eos_id() == id;
}

Status LLM::State::PrefillRequest(const EngineCore& core, Request& request,
                                  const ProgressCallback& progress) {
  const WorkingSetCounters before = working_set->counters();
  Sequence& sequence = *request.sequence;
  PrefillProgress report;
  if (progress) report = [&](double fraction) { progress(request.index, fraction); };
  ESA_RETURN_IF_ERROR(Prefill(core, sequence, report));
  const WorkingSetCounters& after = working_set->counters();
  sequence.stats.dumped_bytes += after.dumped_bytes - before.dumped_bytes;
  sequence.stats.failed_dumps += after.failed_dumps - before.failed_dumps;
  if (sequence.stats.failed_dumps > 0) sequence.stats.store_error = after.first_dump_error;
  sequence.stats.prefill_seconds = request.arrival.Seconds();
  return {};
}

void LLM::State::TakeToken(Request& request, const SamplingParams& params,
                           const StreamCallback& stream) {
  Sequence& sequence = *request.sequence;
  const std::int32_t id = request.sampler.Next(sequence.logits, sequence.tokens);
  if (!params.ignore_eos && IsEos(id)) {
    request.finish_reason = "stop";
    return;
  }
  sequence.tokens.push_back(id);
  ++sequence.stats.generated_tokens;
  if (tokenizer != nullptr) {
    const std::string piece = request.output.Push(id);
    if (stream && !piece.empty()) stream(request.index, piece);
  }
  if (request.output.stopped()) {
    request.finish_reason = "stop";
  } else if (sequence.stats.generated_tokens >= params.max_tokens) {
    request.finish_reason = "length";
  }
}

Status LLM::State::GenerateBatch(const EngineCore& core, std::span<Request> batch,
                                 const SamplingParams& params, const StreamCallback& stream,
                                 const ProgressCallback& progress) {
  pool->ResetPeak();
  for (Request& request : batch) {
    request.arrival = Stopwatch();
    ESA_RETURN_IF_ERROR(PrefillRequest(core, request, progress));
    TakeToken(request, params, stream);
  }
  const Stopwatch decoding;
  Decoder decoder(core);
  std::vector<Sequence*> active;
  std::vector<Request*> owners;
  while (true) {
    active.clear();
    owners.clear();
    for (Request& request : batch) {
      if (!request.finish_reason.empty()) continue;
      active.push_back(request.sequence.get());
      owners.push_back(&request);
    }
    if (active.empty()) break;
    ESA_RETURN_IF_ERROR(decoder.Step(active));
    for (Request* request : owners) {
      TakeToken(*request, params, stream);
      request->sequence->stats.decode_seconds = decoding.Seconds();
    }
  }
  const auto peak = static_cast<std::uint64_t>(pool->peak_slots() * pool->slot_bytes());
  for (Request& request : batch) request.sequence->stats.peak_resident_bytes = peak;
  return {};
}

LLM::LLM(std::unique_ptr<State> state) : state_(std::move(state)) {}
LLM::~LLM() = default;

Result<std::unique_ptr<LLM>> LLM::Open(const EngineConfig& config) {
  ESA_RETURN_IF_ERROR(CheckEngineConfig(config));
  for (const std::string& path : config.plugins) {
    ESA_RETURN_IF_ERROR(LoadSparseAttentionPlugin(path));
  }
  ESA_RETURN_IF_ERROR(
      [&]() -> Status {  // a wrong name or option is said before the weights are read
        auto probe = CreateSparseAttention(config.sparse.name, config.sparse.options);
        return probe ? Status() : Status(probe.error());
      }());
  SetUpComputeThreads(config.threads, config.pin_threads);
  auto state = std::make_unique<State>();
  state->config = config;
  ESA_ASSIGN_OR_RETURN(state->model, Model::Load(config.model_dir, config.weights));
  const std::filesystem::path folder(config.model_dir);
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(folder);
  if (!tokenizer && tokenizer.error().code != ErrorCode::kNotFound) return tokenizer.error();
  if (tokenizer) {
    state->tokenizer = std::move(*tokenizer);
    Result<ChatTemplate> chat = ChatTemplate::Load(folder);
    if (chat) {
      state->chat = std::move(*chat);
    } else if (chat.error().code != ErrorCode::kNotFound) {
      return chat.error();
    }
  }
  const ModelConfig& shape = state->model->config();
  if (config.kv_dtype == KvDtype::kInt8 &&
      (shape.head_dim % 4 != 0 || config.block_tokens % 4 != 0)) {
    return InvalidArgument("kv_dtype int8 needs multiples of 4, found a head_dim of " +
                           std::to_string(shape.head_dim) + " and block_tokens of " +
                           std::to_string(config.block_tokens));
  }
  state->geometry = {.num_layers = shape.num_layers,
                     .num_kv_heads = shape.num_kv_heads,
                     .slice = {.block_tokens = config.block_tokens,
                               .head_dim = shape.head_dim,
                               .dtype = config.kv_dtype}};
  ESA_ASSIGN_OR_RETURN(
      state->pool, SlicePool::Create(state->geometry.slice.slice_bytes(), config.kv_memory_bytes));
  state->retrieval = std::make_unique<RetrievalPool>(config.retrieval_threads);
  const auto fingerprint = state->model->Fingerprint();
  std::vector<std::uint8_t> computation(fingerprint.begin(), fingerprint.end());
  const std::vector<std::uint8_t> mark = ComputationMark(config.prefill);
  computation.insert(computation.end(), mark.begin(), mark.end());
  state->hasher = std::make_unique<BlockHasher>(computation, state->geometry, config.tenant);
  if (!config.store.storage_backends.empty() || config.store.backend != "posix") {
    ESA_RETURN_IF_ERROR(state->OpenStore(config.store));
  } else {
    state->working_set = std::make_unique<WorkingSet>(
        state->pool.get(), nullptr, std::chrono::milliseconds(config.store.timeout_ms));
  }
  return std::unique_ptr<LLM>(new LLM(std::move(state)));
}

Result<std::vector<Completion>> LLM::Generate(std::span<const Prompt> prompts,
                                              const SamplingParams& params,
                                              const StreamCallback& stream,
                                              const ProgressCallback& progress) {
  if (params.max_tokens < 1) return InvalidArgument("max_tokens must be at least 1");
  State& state = *state_;
  std::vector<std::vector<std::int32_t>> tokens;
  std::int64_t slots = 0;
  for (const Prompt& prompt : prompts) {
    ESA_ASSIGN_OR_RETURN(std::vector<std::int32_t> ids, state.Tokens(prompt));
    slots += state.NeededSlots(static_cast<std::int64_t>(ids.size()) + params.max_tokens);
    tokens.push_back(std::move(ids));
  }
  const bool may_spill = slots > state.pool->num_slots();
  if (may_spill && state.store == nullptr) ESA_RETURN_IF_ERROR(state.UseScratchStore());
  const EngineCore core = state.Core(may_spill);
  std::vector<Completion> completions;
  while (completions.size() < tokens.size()) {
    std::vector<Request> batch;
    std::int64_t kept = 0;  // slots
    for (std::size_t i = completions.size(); i < tokens.size() && batch.size() < kMaxBatch; ++i) {
      ESA_ASSIGN_OR_RETURN(auto sequence, state.NewSequence(tokens[i], params.max_tokens));
      // Where memory is short, only with sequences that leave each other what they keep: sharing
      // it would add loads.
      const SequenceSlots slots_of = state.SlotsOf(*sequence, params.max_tokens);
      const bool fits =
          kept + std::max(slots_of.decode, slots_of.prefill) <= state.pool->num_slots();
      if (may_spill && !fits && !batch.empty()) break;
      kept += slots_of.decode;
      sequence->index = i;
      batch.push_back({.index = i,
                       .sequence = std::move(sequence),
                       .sampler = Sampler(params, i),
                       .output = OutputText(state.tokenizer.get(), params.stop)});
    }
    const Status done = state.GenerateBatch(core, batch, params, stream, progress);
    for (Request& request : batch) {
      if (done && state.tokenizer != nullptr) {
        const std::string rest = request.output.Flush();
        if (stream && !rest.empty()) stream(request.index, rest);
      }
      Sequence& sequence = *request.sequence;
      state.FinishSequence(sequence);
      sequence.SumUpAudits();
      state.CountAudits(sequence);
      completions.push_back(
          {.text = request.output.text(),
           .token_ids = {sequence.tokens.begin() + sequence.prompt_tokens, sequence.tokens.end()},
           .finish_reason = request.finish_reason,
           .stats = sequence.stats});
    }
    if (!done) return done.error();
  }
  return completions;
}

Status LLM::MakeUpKv(std::span<const std::int32_t> tokens,
                     const std::function<void(double fraction)>& progress) {
  State& state = *state_;
  if (state.store != nullptr && state.scratch_folder == nullptr) {
    return InvalidArgument("made-up KV goes to a scratch folder alone, not to a store");
  }
  if (state.store == nullptr) ESA_RETURN_IF_ERROR(state.UseScratchStore());
  return StoreMadeUpKv(state.Core(false), tokens, progress);
}

Result<std::vector<float>> LLM::Logits(std::span<const std::int32_t> tokens) {
  Prompt prompt;
  prompt.token_ids.assign(tokens.begin(), tokens.end());
  ESA_ASSIGN_OR_RETURN(std::vector<std::int32_t> ids, state_->Tokens(prompt));
  ESA_ASSIGN_OR_RETURN(auto sequence, state_->NewSequence(std::move(ids), 0));
  Result<std::vector<float>> logits = PrefillLogits(state_->Core(false), *sequence);
  state_->FinishSequence(*sequence);
  return logits;
}

Result<std::vector<std::int32_t>> LLM::Tokenize(std::string_view text) const {
  if (state_->tokenizer == nullptr) {
    return InvalidArgument(state_->config.model_dir + " has no tokenizer.json");
  }
  return state_->tokenizer->Encode(text);
}

Result<std::string> LLM::RenderChat(std::span<const Message> messages) const {
  if (!state_->chat) return NotFound(state_->config.model_dir + " has no chat template");
  std::vector<ChatMessage> chat;
  for (const Message& m : messages) chat.push_back({m.role, m.content});
  return state_->chat->Render(chat);
}

void LLM::ObserveSelections(SelectionObserver observer) { state_->observer = std::move(observer); }

const EngineConfig& LLM::config() const { return state_->config; }
std::int64_t LLM::vocab_size() const { return state_->model->config().vocab_size; }
std::int64_t LLM::max_position() const { return state_->model->config().max_position; }
std::uint64_t LLM::weight_bytes() const { return state_->model->weight_bytes(); }
std::uint64_t LLM::step_weight_bytes() const { return state_->model->step_weight_bytes(); }
std::uint64_t LLM::kv_bytes_per_token() const {
  const KvGeometry& g = state_->geometry;
  return static_cast<std::uint64_t>(g.block_bytes() / g.slice.block_tokens);
}
AuditTotals LLM::audit_totals() const { return state_->audits; }
StoreStats LLM::store_stats() const {
  return state_->store == nullptr ? StoreStats() : state_->store->Stats();
}

}  // namespace esa
