#include "model/layers.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "model/fingerprint.h"
#include "ops/elementwise.h"

namespace esa {
namespace {

float* Grown(std::vector<float>& buffer, std::int64_t size) {
  if (buffer.size() < static_cast<std::size_t>(size)) buffer.resize(static_cast<std::size_t>(size));
  return buffer.data();
}

LinearOutput Output(const Projection& w, float* y) {
  return {.weight = &w.weight, .bias = w.bias, .y = y};
}

float Scaled(float frequency, const RopeScaling& scaling) {
  const auto factor = static_cast<float>(scaling.factor);
  const auto low = static_cast<float>(scaling.low_freq_factor);
  const auto high = static_cast<float>(scaling.high_freq_factor);
  const auto original = static_cast<float>(scaling.original_max_position);
  const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return frequency / factor;
  const float kept = (original / wavelength - low) / (high - low);
  return (1 - kept) * frequency / factor + kept * frequency;
}

}  // namespace

Result<Projection> LoadProjection(Weights& weights, const std::string& name, std::int64_t out,
                                  std::int64_t in, bool bias) {
  Projection projection;
  ESA_ASSIGN_OR_RETURN(projection.weight, weights.Matrix(name + ".weight", out, in));
  if (bias) {
    ESA_ASSIGN_OR_RETURN(projection.bias, weights.Vector(name + ".bias", out));
  }
  return projection;
}

Result<AttentionProjections> LoadAttention(Weights& weights, const ModelConfig& config,
                                           const std::string& prefix, bool qkv_bias, bool o_bias) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t q_size = std::int64_t{config.num_heads} * config.head_dim;
  const std::int64_t kv_size = std::int64_t{config.num_kv_heads} * config.head_dim;
  AttentionProjections w;
  ESA_ASSIGN_OR_RETURN(w.q, LoadProjection(weights, prefix + "q_proj", q_size, hidden, qkv_bias));
  ESA_ASSIGN_OR_RETURN(w.k, LoadProjection(weights, prefix + "k_proj", kv_size, hidden, qkv_bias));
  ESA_ASSIGN_OR_RETURN(w.v, LoadProjection(weights, prefix + "v_proj", kv_size, hidden, qkv_bias));
  ESA_ASSIGN_OR_RETURN(w.o, LoadProjection(weights, prefix + "o_proj", hidden, q_size, o_bias));
  return w;
}

Result<GatedMlp> LoadMlp(Weights& weights, const ModelConfig& config, const std::string& prefix) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  GatedMlp w;
  ESA_ASSIGN_OR_RETURN(w.gate, LoadProjection(weights, prefix + "gate_proj", inner, hidden, false));
  ESA_ASSIGN_OR_RETURN(w.up, LoadProjection(weights, prefix + "up_proj", inner, hidden, false));
  ESA_ASSIGN_OR_RETURN(w.down, LoadProjection(weights, prefix + "down_proj", hidden, inner, false));
  return w;
}

std::vector<float> InverseFrequencies(int head_dim, double theta, const RopeScaling& scaling,
                                      std::span<const float> divisors) {
  std::vector<float> frequencies;
  for (int i = 0; i < head_dim / 2; ++i) {
    // Rounded to f32 at every step as training did: one unit in the last place off, and at position
    // 3000 logits moved by 1e-3.
    const float exponent = 2.0f * static_cast<float>(i) / static_cast<float>(head_dim);
    const float frequency = 1.0f / static_cast<float>(std::pow(theta, double{exponent}));
    frequencies.push_back(scaling.factor == 1.0 ? frequency : Scaled(frequency, scaling));
    if (!divisors.empty()) frequencies.back() /= divisors[static_cast<std::size_t>(i)];
  }
  return frequencies;
}

std::string LayerPrefix(int layer) { return "model.layers." + std::to_string(layer) + "."; }

Decoder::Decoder(ModelConfig config, Weights weights)
    : Model(std::move(config)),
      weights_(std::move(weights)),
      inverse_frequencies_(InverseFrequencies(config_.head_dim, config_.rope_theta,
                                              config_.rope_scaling, config_.rope_divisors)) {}

Status Decoder::LoadEnds() {
  const std::int64_t vocab = config_.vocab_size;
  const std::int64_t hidden = config_.hidden_size;
  ESA_ASSIGN_OR_RETURN(embedding_, weights_.EndMatrix("model.embed_tokens.weight", vocab, hidden));
  head_ = embedding_;
  if (!config_.tie_word_embeddings) {
    embedding_bytes_ = static_cast<std::uint64_t>(WeightBytes(embedding_));
    ESA_ASSIGN_OR_RETURN(head_, weights_.EndMatrix("lm_head.weight", vocab, hidden));
  }
  ESA_ASSIGN_OR_RETURN(final_norm_, weights_.Vector("model.norm.weight", hidden));
  return {};
}

std::array<std::uint8_t, 16> Decoder::Fingerprint() const {
  std::call_once(fingerprint_once_, [this] { fingerprint_ = FingerprintOf(config_, weights_); });
  return fingerprint_;
}

void Decoder::Embed(std::span<const std::int32_t> tokens, float* hidden) const {
  for (const std::int32_t token : tokens) {
    ESA_CHECK(token >= 0 && token < config_.vocab_size);
    CopyRow(embedding_, token, hidden);
    hidden += config_.hidden_size;
  }
}

void Decoder::Logits(const float* hidden, std::int64_t rows, float* logits) const {
  thread_local std::vector<float> normed;  // kept: a decode step allocates nothing
  normed.resize(static_cast<std::size_t>(rows * config_.hidden_size));
  RmsNorm(hidden, rows, final_norm_, config_.rms_norm_eps, normed.data());
  Linear(head_, {}, normed.data(), rows, logits);
}

void Decoder::Norm(std::span<const float> norm, const ForwardBatch& batch,
                   ForwardScratch& scratch) const {
  float* normed = Grown(scratch.normed, batch.rows * config_.hidden_size);
  RmsNorm(batch.hidden, batch.rows, norm, config_.rms_norm_eps, normed);
}

void Decoder::ProjectQkv(const AttentionProjections& w, std::int64_t rows,
                         ForwardScratch& scratch) const {
  const float* normed = scratch.normed.data();
  const LinearOutput outputs[] = {Output(w.q, Grown(scratch.q, rows * w.q.weight.rows)),
                                  Output(w.k, Grown(scratch.k, rows * w.k.weight.rows)),
                                  Output(w.v, Grown(scratch.v, rows * w.v.weight.rows))};
  Linear(outputs, normed, rows);
}

void Decoder::NormHeads(std::span<const float> q_norm, std::span<const float> k_norm,
                        std::int64_t rows, ForwardScratch& scratch) const {
  float* q = scratch.q.data();
  float* k = scratch.k.data();
  RmsNorm(q, rows * config_.num_heads, q_norm, config_.rms_norm_eps, q);
  RmsNorm(k, rows * config_.num_kv_heads, k_norm, config_.rms_norm_eps, k);
}

void Decoder::Rotate(std::span<const std::int32_t> positions, ForwardScratch& scratch) const {
  const int head_dim = config_.head_dim;
  Rope(scratch.q.data(), positions, config_.num_heads, head_dim, inverse_frequencies_);
  Rope(scratch.k.data(), positions, config_.num_kv_heads, head_dim, inverse_frequencies_);
}

Status Decoder::AddAttention(int layer, const Projection& o, const ForwardBatch& batch,
                             AttentionBackend& attention, ForwardScratch& scratch) const {
  float* attended = Grown(scratch.attended, batch.rows * o.weight.cols);
  ESA_RETURN_IF_ERROR(attention.Attend(layer, scratch.q.data(), scratch.k.data(), scratch.v.data(),
                                       batch.rows, attended));
  AddProjected(o, attended, batch, scratch);
  return {};
}

void Decoder::AddMlp(const GatedMlp& w, const ForwardBatch& batch, ForwardScratch& scratch) const {
  const std::int64_t count = batch.rows * config_.intermediate_size;
  float* gate = Grown(scratch.gate, count);
  float* up = Grown(scratch.up, count);
  const LinearOutput outputs[] = {Output(w.gate, gate), Output(w.up, up)};
  Linear(outputs, scratch.normed.data(), batch.rows);
  SwiGlu(gate, up, count, gate);
  AddProjected(w.down, gate, batch, scratch);
}

void Decoder::AddProjected(const Projection& w, const float* x, const ForwardBatch& batch,
                           ForwardScratch& scratch) const {
  const std::int64_t count = batch.rows * config_.hidden_size;
  float* projected = Grown(scratch.projected, count);
  Linear(w.weight, w.bias, x, batch.rows, projected);
  AddInPlace(projected, count, batch.hidden);
}

}  // namespace esa
