#include "cli/plan/engine_plan.h"

#include <algorithm>
#include <memory>

#include "base/status_macros.h"
#include "esa/sparse_attention.h"
#include "kv/geometry.h"
#include "model/shape_cost.h"

namespace esa::cli {
namespace {

// Of one value, its group's scale included.
double ParameterBytes(WeightType type, bool end) {
  constexpr double kStored = 2;
  constexpr double kInt8 = 1 + 2.0 / 32;
  constexpr double kInt4 = 0.5 + 2.0 / 32;
  if (type == WeightType::kStored) return kStored;
  return type == WeightType::kInt4 && !end ? kInt4 : kInt8;
}

double RepresentationBytes(const RepresentationSpec& spec, const KvGeometry& geometry,
                           std::int64_t blocks) {
  const double value_bytes = spec.type == RepresentationType::kF32    ? 4
                             : spec.type == RepresentationType::kBf16 ? 2
                                                                      : 1;
  const int statistics = 1 + (spec.variance ? 1 : 0) + (spec.bounds ? 2 : 0);
  const int parts = spec.part_tokens == 0
                        ? 1
                        : std::max(1, geometry.slice.block_tokens / std::max(1, spec.part_tokens));
  const double scale_bytes = spec.type == RepresentationType::kInt8 ? 4 : 0;
  const double row = geometry.slice.head_dim * value_bytes + scale_bytes;
  const double means = spec.value_mean ? row : 0;
  const double codes = geometry.slice.block_tokens * spec.code_bits / 8.0;
  const auto slices = static_cast<double>(blocks * geometry.slices_per_block());
  return slices * (parts * statistics * row + means + codes);
}

// Steps between two selections of a layer, as far as an algorithm says.
double Stride(const SparseConfig& sparse) {
  const auto found = sparse.options.find("retrieval_stride");
  if (found != sparse.options.end() && std::holds_alternative<std::int64_t>(found->second)) {
    return static_cast<double>(std::get<std::int64_t>(found->second));
  }
  return 5;
}

}  // namespace

Result<Plan> MakePlan(const PlanRequest& request) {
  const EngineConfig& engine = request.engine;
  const ModelConfig& shape = request.shape;
  const KvGeometry geometry = {.num_layers = shape.num_layers,
                               .num_kv_heads = shape.num_kv_heads,
                               .slice = {.block_tokens = engine.block_tokens,
                                         .head_dim = shape.head_dim,
                                         .dtype = engine.kv_dtype}};
  const std::int64_t block = engine.block_tokens;
  const std::int64_t blocks = (request.context + block - 1) / block;
  const SequenceShape sequence = {.prompt_tokens = request.context,
                                  .context_tokens = request.context,
                                  .sealed_blocks = request.context / block,
                                  .block_tokens = engine.block_tokens,
                                  .num_layers = shape.num_layers,
                                  .num_heads = shape.num_heads,
                                  .num_kv_heads = shape.num_kv_heads,
                                  .head_dim = shape.head_dim};
  ESA_ASSIGN_OR_RETURN(const auto algorithm,
                       CreateSparseAttention(engine.sparse.name, engine.sparse.options));
  const std::int64_t resident = std::min(blocks, algorithm->ResidentBlocks(sequence));
  const auto block_bytes = static_cast<double>(geometry.block_bytes());
  const auto layers = static_cast<double>(LayerParameters(shape));
  const auto head = static_cast<double>(HeadParameters(shape));
  const double head_bytes = head * ParameterBytes(engine.weights.type, true);

  Plan plan;
  plan.step_weight_bytes = layers * ParameterBytes(engine.weights.type, false) + head_bytes;
  plan.weight_bytes = plan.step_weight_bytes + (shape.tie_word_embeddings ? 0 : head_bytes);
  plan.kv_bytes_per_token = block_bytes / static_cast<double>(block);
  plan.kv_bytes = block_bytes * static_cast<double>(blocks);
  plan.layer_kv_bytes = plan.kv_bytes / shape.num_layers;
  plan.sparse = resident < blocks;
  plan.working_set_bytes = block_bytes * static_cast<double>(resident);
  plan.representation_bytes = RepresentationBytes(algorithm->Representations(), geometry, blocks);
  plan.hidden_bytes = static_cast<double>(request.context * shape.hidden_size) * sizeof(float);
  plan.attended_bytes = plan.working_set_bytes;
  // The block that decode fills is in memory in every layer.
  plan.fits_kv_memory = std::max(plan.working_set_bytes, plan.layer_kv_bytes) + block_bytes <=
                        static_cast<double>(engine.kv_memory_bytes);

  const double read = kReadPart * request.ceilings.read_bytes;
  plan.dense_step_seconds = (plan.step_weight_bytes + plan.kv_bytes) / read;
  plan.step_seconds = (plan.step_weight_bytes + plan.attended_bytes) / read;
  if (plan.sparse) {
    plan.loaded_bytes_per_step = plan.attended_bytes * (1 - request.reuse) / Stride(engine.sparse);
  } else if (!plan.fits_kv_memory) {
    plan.loaded_bytes_per_step = plan.kv_bytes;  // the whole of it passes through memory
  }
  plan.needed_disk_bytes = plan.loaded_bytes_per_step / plan.step_seconds;
  const double load_seconds = plan.loaded_bytes_per_step / request.disk_bytes;
  // Loads run beside the steps between two selections, or, densely, beside nothing.
  plan.stall_seconds = std::max(0.0, load_seconds - (plan.sparse ? plan.step_seconds : 0));
  plan.prefill_seconds = PrefillOperations(shape, 0, request.context) /
                         (kArithmeticPart * std::max(request.ceilings.f32_operations,
                                                     request.ceilings.bf16_operations));
  return plan;
}

}  // namespace esa::cli
