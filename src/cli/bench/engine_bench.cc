#include "cli/bench/engine_bench.h"

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <utility>

#include "base/status_macros.h"
#include "engine/sequence_slots.h"
#include "esa/sparse_attention.h"
#include "kv/geometry.h"
#include "model/shape_cost.h"

namespace esa::cli {
namespace {

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Token ids below the vocabulary's size, the same for the same seed.
std::vector<std::int32_t> RandomTokens(std::int64_t count, std::int64_t vocab, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::int32_t& token : tokens) {
    token = static_cast<std::int32_t>(engine() % static_cast<std::uint64_t>(vocab));
  }
  return tokens;
}

// Slots for what the algorithm keeps in memory, and for one layer of the prompt, which prefill
// needs at once.
Result<std::uint64_t> NeededMemory(const KvGeometry& geometry, const SparseConfig& sparse,
                                   std::int64_t tokens, int num_heads, int batch) {
  ESA_ASSIGN_OR_RETURN(const auto algorithm, CreateSparseAttention(sparse.name, sparse.options));
  const int block = geometry.slice.block_tokens;
  const SequenceShape shape = {.prompt_tokens = tokens,
                               .context_tokens = tokens,
                               .sealed_blocks = tokens / block,
                               .block_tokens = block,
                               .num_layers = geometry.num_layers,
                               .num_heads = num_heads,
                               .num_kv_heads = geometry.num_kv_heads,
                               .head_dim = geometry.slice.head_dim};
  const SequenceSlots of_one = SlotsOf(geometry, shape, *algorithm);
  // The blocks that decode fills are in memory in every layer.
  const std::int64_t slots = (batch - 1) * of_one.decode + std::max(of_one.decode, of_one.prefill) +
                             2 * batch * geometry.slices_per_block();
  return static_cast<std::uint64_t>(slots * geometry.slice.slice_bytes());
}

// One algorithm at one depth.
class Contestant {
 public:
  static Result<std::unique_ptr<Contestant>> Open(const EngineBenchConfig& config,
                                                  const ModelConfig& shape, std::int64_t depth,
                                                  const SparseConfig& sparse, WeightType weights) {
    EngineConfig engine = config.engine;
    engine.sparse = sparse;
    engine.weights.type = weights;
    // A prompt is restored up to a multiple of this: all of the context, whatever is behind it.
    engine.prefill_chunk_tokens = Chunk(engine, depth);
    const std::int64_t most =
        depth + std::max(config.prefill_tokens, config.decode_tokens + 1) + engine.block_tokens;
    const KvGeometry geometry = {.num_layers = shape.num_layers,
                                 .num_kv_heads = shape.num_kv_heads,
                                 .slice = {.block_tokens = engine.block_tokens,
                                           .head_dim = shape.head_dim,
                                           .dtype = engine.kv_dtype}};
    if (!config.given_memory) {
      ESA_ASSIGN_OR_RETURN(engine.kv_memory_bytes,
                           NeededMemory(geometry, sparse, most, shape.num_heads, config.batch));
    }
    ESA_ASSIGN_OR_RETURN(auto llm, LLM::Open(engine));
    return std::unique_ptr<Contestant>(new Contestant(config, shape, depth, std::move(llm)));
  }

  // Leaves the context in the scratch folder.
  Status Prepare(const std::function<void(double)>& progress) {
    if (depth_ == 0) return {};
    const std::vector<std::int32_t> context = RandomTokens(depth_, shape_.vocab_size, 0);
    // Also where it is to be computed: the engine then has a folder that keeps it.
    ESA_RETURN_IF_ERROR(llm_->MakeUpKv(
        config_.fake_kv ? std::span(context) : std::span(context).first(0), progress));
    if (config_.fake_kv) return {};
    if (const auto computed = Generate(context, 1, progress); !computed) return computed.error();
    return {};
  }

  Status WarmUp() {
    if (const auto done = Generate(Prompt(1, 0), 2); !done) return done.error();
    return {};
  }

  Status Prefill(std::uint64_t round) {
    ESA_ASSIGN_OR_RETURN(const RequestStats stats,
                         Generate(Prompt(config_.prefill_tokens, round), 1));
    row_.prefill_tokens = stats.prompt_tokens - stats.restored_tokens;
    row_.prefill_operations = PrefillOperations(shape_, stats.restored_tokens, row_.prefill_tokens);
    prefill_rates_.push_back(static_cast<double>(row_.prefill_tokens) /
                             (stats.prefill_seconds - stats.restore_seconds));
    return {};
  }

  Status Decode(std::uint64_t round) {
    const auto steps = static_cast<double>(config_.decode_tokens);
    std::vector<esa::Prompt> prompts(static_cast<std::size_t>(config_.batch));
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      prompts[i].token_ids = Prompt(1, round * prompts.size() + i);
    }
    ESA_ASSIGN_OR_RETURN(const std::vector<RequestStats> all,
                         Generate(prompts, static_cast<int>(config_.decode_tokens) + 1));
    RequestStats stats;
    for (const RequestStats& of_one : all) {
      stats.decode_seconds = std::max(stats.decode_seconds, of_one.decode_seconds);
      stats.retrieval_stall_seconds += of_one.retrieval_stall_seconds;
      stats.load_stall_seconds += of_one.load_stall_seconds;
      stats.load_copy_seconds += of_one.load_copy_seconds;
      stats.attended_bytes += of_one.attended_bytes;
      stats.loaded_bytes += of_one.loaded_bytes;
    }
    decode_rates_.push_back(steps * config_.batch / stats.decode_seconds);
    stalls_.push_back((stats.retrieval_stall_seconds + stats.load_stall_seconds) /
                      stats.decode_seconds);
    load_copies_.push_back(stats.load_copy_seconds / stats.decode_seconds);
    row_.attended_bytes = static_cast<double>(stats.attended_bytes) / steps;
    row_.loaded_bytes = static_cast<double>(stats.loaded_bytes) / steps;
    row_.decode_bytes = static_cast<double>(llm_->step_weight_bytes()) + row_.attended_bytes;
    return {};
  }

  EngineBenchRow Row() const {
    EngineBenchRow row = row_;
    row.depth = depth_;
    row.weights = llm_->config().weights.type;
    row.weight_bytes = llm_->weight_bytes();
    row.algorithm = llm_->config().sparse.name;
    row.prefill_tokens_per_second = Median(prefill_rates_);
    row.decode_tokens_per_second = Median(decode_rates_);
    row.stall = Median(stalls_);
    row.load_copy = Median(load_copies_);
    row.kv_memory_bytes = llm_->config().kv_memory_bytes;
    return row;
  }

  const LLM& llm() const { return *llm_; }

 private:
  Contestant(const EngineBenchConfig& config, const ModelConfig& shape, std::int64_t depth,
             std::unique_ptr<LLM> llm)
      : config_(config), shape_(shape), depth_(depth), llm_(std::move(llm)) {}

  static int Chunk(const EngineConfig& engine, std::int64_t depth) {
    int chunk = engine.prefill_chunk_tokens;
    while (chunk > engine.block_tokens && depth % chunk != 0) chunk -= engine.block_tokens;
    return chunk;
  }

  // The context, and tokens of this round behind it.
  std::vector<std::int32_t> Prompt(std::int64_t tail, std::uint64_t round) const {
    std::vector<std::int32_t> tokens = RandomTokens(depth_, shape_.vocab_size, 0);
    const std::vector<std::int32_t> last = RandomTokens(tail, shape_.vocab_size, round + 1);
    tokens.insert(tokens.end(), last.begin(), last.end());
    return tokens;
  }

  Result<RequestStats> Generate(std::vector<std::int32_t> tokens, int max_tokens,
                                const std::function<void(double)>& progress = {}) {
    esa::Prompt prompt;
    prompt.token_ids = std::move(tokens);
    ESA_ASSIGN_OR_RETURN(const std::vector<RequestStats> all,
                         Generate({&prompt, 1}, max_tokens, progress));
    return all.front();
  }

  Result<std::vector<RequestStats>> Generate(std::span<const esa::Prompt> prompts, int max_tokens,
                                             const std::function<void(double)>& progress = {}) {
    ProgressCallback report;
    if (progress) report = [&](std::size_t, double fraction) { progress(fraction); };
    ESA_ASSIGN_OR_RETURN(
        const std::vector<Completion> done,
        llm_->Generate(prompts, {.max_tokens = max_tokens, .ignore_eos = true}, {}, report));
    std::vector<RequestStats> stats;
    for (const Completion& completion : done) stats.push_back(completion.stats);
    return stats;
  }

  const EngineBenchConfig& config_;
  const ModelConfig& shape_;
  std::int64_t depth_;
  std::unique_ptr<LLM> llm_;
  EngineBenchRow row_;
  std::vector<double> prefill_rates_;
  std::vector<double> decode_rates_;
  std::vector<double> stalls_;
  std::vector<double> load_copies_;
};

}  // namespace

Result<EngineBenchResult> RunEngineBench(const EngineBenchConfig& config,
                                         const BenchProgress& progress) {
  EngineBenchResult result;
  ESA_ASSIGN_OR_RETURN(result.shape, ReadModelConfig(config.engine.model_dir));
  result.ceilings = MeasureCeilings(config.engine.threads);
  const auto depths = static_cast<double>(config.depths.size());
  for (std::size_t d = 0; d < config.depths.size(); ++d) {
    const std::int64_t depth = config.depths[d];
    const auto report = [&](double part, const std::string& what) {
      progress((static_cast<double>(d) + part) / depths,
               "depth " + std::to_string(depth) + ": " + what);
    };
    std::vector<std::unique_ptr<Contestant>> contestants;
    for (const WeightType weights : config.weights) {
      for (const SparseConfig& sparse : config.algorithms) {
        const std::string what = sparse.name + ", context";
        report(0, what);
        ESA_ASSIGN_OR_RETURN(auto contestant,
                             Contestant::Open(config, result.shape, depth, sparse, weights));
        ESA_RETURN_IF_ERROR(
            contestant->Prepare([&](double fraction) { report(0.3 * fraction, what); }));
        result.kv_bytes_per_token = contestant->llm().kv_bytes_per_token();
        contestants.push_back(std::move(contestant));
      }
    }
    // The first round warms up and is not counted.
    for (int round = 0; round <= config.rounds; ++round) {
      for (const auto& contestant : contestants) {
        report(0.3 + 0.7 * round / (config.rounds + 1), "measuring");
        if (round == 0) {
          ESA_RETURN_IF_ERROR(contestant->WarmUp());
          continue;
        }
        if (config.prefill_tokens > 0) {
          ESA_RETURN_IF_ERROR(contestant->Prefill(static_cast<std::uint64_t>(round)));
        }
        if (config.decode_tokens > 0) {
          ESA_RETURN_IF_ERROR(contestant->Decode(static_cast<std::uint64_t>(round)));
        }
      }
    }
    for (const auto& contestant : contestants) result.rows.push_back(contestant->Row());
  }
  return result;
}

}  // namespace esa::cli
