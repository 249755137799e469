#include "model/shape_cost.h"

namespace esa {

std::int64_t LayerParameters(const ModelConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t q_size = std::int64_t{config.num_heads} * config.head_dim;
  const std::int64_t kv_size = std::int64_t{config.num_kv_heads} * config.head_dim;
  const std::int64_t attention = hidden * (2 * q_size + 2 * kv_size);
  return config.num_layers * (attention + 3 * hidden * config.intermediate_size);
}

std::int64_t HeadParameters(const ModelConfig& config) {
  return config.vocab_size * config.hidden_size;
}

double AttentionOperations(const ModelConfig& config, double context) {
  return 4.0 * config.num_layers * config.num_heads * config.head_dim * context;
}

double PrefillOperations(const ModelConfig& config, std::int64_t depth, std::int64_t tokens) {
  const auto rows = static_cast<double>(tokens);
  const double mean_context = static_cast<double>(depth) + (rows + 1) / 2;
  return rows * (2.0 * static_cast<double>(LayerParameters(config)) +
                 AttentionOperations(config, mean_context)) +
         2.0 * static_cast<double>(HeadParameters(config));
}

}  // namespace esa
