// A decoder-only transformer opened from a Hugging Face folder or a GGUF file: configuration,
// weights, forward.
//
// The model computes everything but attention, which it hands to an AttentionBackend together with
// the rotated queries and keys: the engine owns the KV cache.
// Threading: a loaded model is immutable; Forward* use the OpenMP pool and caller-owned scratch.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "esa/config.h"
#include "esa/result.h"

namespace esa {

struct RopeScaling {  // "llama3" (Llama 3.1); factor 1 means none
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  double original_max_position = 8192;
};

struct ModelConfig {
  std::string architecture;  // model_type of config.json: llama, qwen2, qwen3
  std::int64_t vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  std::int64_t max_position = 0;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  std::vector<float> rope_divisors = {};  // of the angles, [head_dim / 2]; empty: none
  float rms_norm_eps = 1e-6f;
  bool tie_word_embeddings = false;
  bool attention_bias = false;        // llama, qwen3: biases on q, k, v and o
  std::vector<std::int32_t> eos_ids;  // config.json and generation_config.json together
};

// Of a Hugging Face folder or a GGUF file. Errors name file, field, what was found and what was
// expected.
Result<ModelConfig> ReadModelConfig(const std::filesystem::path& path);

// Rows of tokens on their way through the layers.
struct ForwardBatch {
  std::int64_t rows = 0;
  std::span<const std::int32_t> positions;  // [rows]
  float* hidden = nullptr;                  // [rows, hidden_size], updated in place
};

// Where attention happens. q [rows, num_heads, head_dim] and k [rows, num_kv_heads, head_dim] are
// after rope (and q/k norms), v [rows, num_kv_heads, head_dim]; out [rows, num_heads, head_dim].
class AttentionBackend {
 public:
  virtual ~AttentionBackend() = default;
  virtual Status Attend(int layer, const float* q, const float* k, const float* v,
                        std::int64_t rows, float* out) = 0;
};

// Buffers of ForwardLayer, grown as needed and kept between calls; one per thread of calls.
struct ForwardScratch {
  std::vector<float> normed, q, k, v, attended, projected, gate, up;
};

class Model {
 public:
  virtual ~Model() = default;

  // Opens config.json and model.safetensors or its sharded index, or a GGUF file (of a split one
  // the first); every tensor is found, and its
  // shape and type checked, before this returns.
  static Result<std::unique_ptr<Model>> Load(const std::filesystem::path& path,
                                             const WeightConfig& weights = {});

  const ModelConfig& config() const { return config_; }
  // Of the weights in memory.
  virtual std::uint64_t weight_bytes() const = 0;
  // Of these, what every decode step reads: an embedding that is not the head's is not among them.
  virtual std::uint64_t step_weight_bytes() const = 0;

  // XXH3-128 of all weight files' tensor bytes and of the fields of config.json that change the
  // computation, and of the type weights are kept in. Computed on first call (reads all weights
  // once).
  virtual std::array<std::uint8_t, 16> Fingerprint() const = 0;

  // tokens -> hidden [tokens.size(), hidden_size]. Ids must be in the vocabulary.
  virtual void Embed(std::span<const std::int32_t> tokens, float* hidden) const = 0;

  virtual Status ForwardLayer(int layer, const ForwardBatch& batch, AttentionBackend& attention,
                              ForwardScratch& scratch) const = 0;

  // Final norm and head: hidden [rows, hidden_size] -> logits [rows, vocab_size].
  virtual void Logits(const float* hidden, std::int64_t rows, float* logits) const = 0;

 protected:
  explicit Model(ModelConfig config) : config_(std::move(config)) {}
  ModelConfig config_;
};

}  // namespace esa
