// What the architectures share: a decoder's embedding, head and rotary positions, and the pieces
// its layers are made of.
//
// An architecture derives from Decoder, holds its layers' weights and writes ForwardLayer from the
// pieces. Threading: as Model.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "esa/result.h"
#include "model/model.h"
#include "model/weights.h"
#include "ops/linear.h"

namespace esa {

// y = x W^T + b, as a checkpoint holds it.
struct Projection {
  WeightView weight;        // [out, in]
  std::vector<float> bias;  // [out], or empty
};

// Of `name`.weight and, with `bias`, `name`.bias.
Result<Projection> LoadProjection(Weights& weights, const std::string& name, std::int64_t out,
                                  std::int64_t in, bool bias);

struct AttentionProjections {
  Projection q;  // [num_heads * head_dim, hidden_size]
  Projection k;  // [num_kv_heads * head_dim, hidden_size]
  Projection v;  // as k
  Projection o;  // [hidden_size, num_heads * head_dim]
};

// Of `prefix`q_proj, k_proj, v_proj and o_proj.
Result<AttentionProjections> LoadAttention(Weights& weights, const ModelConfig& config,
                                           const std::string& prefix, bool qkv_bias, bool o_bias);

struct GatedMlp {
  Projection gate;  // [intermediate_size, hidden_size]
  Projection up;    // as gate
  Projection down;  // [hidden_size, intermediate_size]
};

// Of `prefix`gate_proj, up_proj and down_proj.
Result<GatedMlp> LoadMlp(Weights& weights, const ModelConfig& config, const std::string& prefix);

// The angle by which dimension i turns from one position to the next, [head_dim / 2]. Scaling is
// that of Llama 3.1: wavelengths beyond original_max_position / low_freq_factor are stretched by
// `factor`, those under original_max_position / high_freq_factor stay, between them it blends.
// Source: apply_scaling in Meta's llama-models, models/llama3/reference_impl/model.py.
// `divisors` [head_dim / 2] or empty: what each is divided by.
std::vector<float> InverseFrequencies(int head_dim, double theta, const RopeScaling& scaling,
                                      std::span<const float> divisors = {});

// "model.layers.3."
std::string LayerPrefix(int layer);

// A model without its layers.
class Decoder : public Model {
 public:
  std::array<std::uint8_t, 16> Fingerprint() const override;
  void Embed(std::span<const std::int32_t> tokens, float* hidden) const override;
  void Logits(const float* hidden, std::int64_t rows, float* logits) const override;
  std::uint64_t weight_bytes() const override { return weights_.memory_bytes(); }
  std::uint64_t step_weight_bytes() const override { return weight_bytes() - embedding_bytes_; }

 protected:
  Decoder(ModelConfig config, Weights weights);

  // Embedding, final norm and head; where the config ties them the head is the embedding.
  Status LoadEnds();

  // The pieces of ForwardLayer, in the order in which they run. Each reads and writes `scratch`;
  // `batch.hidden` changes only where a sum is named.

  // normed = norm(hidden); norm [hidden_size].
  void Norm(std::span<const float> norm, const ForwardBatch& batch, ForwardScratch& scratch) const;
  // q, k, v = projections of normed.
  void ProjectQkv(const AttentionProjections& w, std::int64_t rows, ForwardScratch& scratch) const;
  // q and k each normed head by head; q_norm, k_norm [head_dim].
  void NormHeads(std::span<const float> q_norm, std::span<const float> k_norm, std::int64_t rows,
                 ForwardScratch& scratch) const;
  // q and k turned to their positions.
  void Rotate(std::span<const std::int32_t> positions, ForwardScratch& scratch) const;
  // attended = attention; hidden += o(attended).
  Status AddAttention(int layer, const Projection& o, const ForwardBatch& batch,
                      AttentionBackend& attention, ForwardScratch& scratch) const;
  // hidden += down(silu(gate(normed)) * up(normed)).
  void AddMlp(const GatedMlp& w, const ForwardBatch& batch, ForwardScratch& scratch) const;

  Weights weights_;

 private:
  void AddProjected(const Projection& w, const float* x, const ForwardBatch& batch,
                    ForwardScratch& scratch) const;

  WeightView embedding_;                    // [vocab_size, hidden_size]
  WeightView head_;                         // as embedding_
  std::uint64_t embedding_bytes_ = 0;       // where the head is another matrix
  std::vector<float> final_norm_;           // [hidden_size]
  std::vector<float> inverse_frequencies_;  // [head_dim / 2]
  mutable std::once_flag fingerprint_once_;
  mutable std::array<std::uint8_t, 16> fingerprint_{};
};

}  // namespace esa
