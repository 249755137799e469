// Qwen3: as Llama, with each head of q and k normed before it is rotated, and a head_dim that need
// not be hidden_size / num_heads. Biases on q, k, v and o where config.json sets attention_bias.
//
//   hidden += o(attention(rope(norm(q(norm(hidden)))), rope(norm(k(..))), v(..)))
//   hidden += down(silu(gate(norm(hidden))) * up(..))
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "model/architectures.h"
#include "model/layers.h"

namespace esa {
namespace {

struct Qwen3Layer {
  std::vector<float> input_norm;  // [hidden_size]
  AttentionProjections attention;
  std::vector<float> q_norm;    // [head_dim]
  std::vector<float> k_norm;    // [head_dim]
  std::vector<float> mlp_norm;  // [hidden_size]
  GatedMlp mlp;
};

class Qwen3 final : public Decoder {
 public:
  Qwen3(ModelConfig config, Weights weights) : Decoder(std::move(config), std::move(weights)) {}

  Status Load() {
    ESA_RETURN_IF_ERROR(LoadEnds());
    for (int i = 0; i < config_.num_layers; ++i) {
      ESA_ASSIGN_OR_RETURN(Qwen3Layer layer, LoadLayer(LayerPrefix(i)));
      layers_.push_back(std::move(layer));
    }
    return {};
  }

  Status ForwardLayer(int layer, const ForwardBatch& batch, AttentionBackend& attention,
                      ForwardScratch& scratch) const override {
    const Qwen3Layer& w = layers_[static_cast<std::size_t>(layer)];
    Norm(w.input_norm, batch, scratch);
    ProjectQkv(w.attention, batch.rows, scratch);
    NormHeads(w.q_norm, w.k_norm, batch.rows, scratch);
    Rotate(batch.positions, scratch);
    ESA_RETURN_IF_ERROR(AddAttention(layer, w.attention.o, batch, attention, scratch));
    Norm(w.mlp_norm, batch, scratch);
    AddMlp(w.mlp, batch, scratch);
    return {};
  }

 private:
  Result<Qwen3Layer> LoadLayer(const std::string& prefix) {
    const std::int64_t hidden = config_.hidden_size;
    const std::int64_t head_dim = config_.head_dim;
    const bool bias = config_.attention_bias;
    Qwen3Layer w;
    ESA_ASSIGN_OR_RETURN(w.input_norm, weights_.Vector(prefix + "input_layernorm.weight", hidden));
    ESA_ASSIGN_OR_RETURN(w.attention,
                         LoadAttention(weights_, config_, prefix + "self_attn.", bias, bias));
    ESA_ASSIGN_OR_RETURN(w.q_norm, weights_.Vector(prefix + "self_attn.q_norm.weight", head_dim));
    ESA_ASSIGN_OR_RETURN(w.k_norm, weights_.Vector(prefix + "self_attn.k_norm.weight", head_dim));
    ESA_ASSIGN_OR_RETURN(w.mlp_norm,
                         weights_.Vector(prefix + "post_attention_layernorm.weight", hidden));
    ESA_ASSIGN_OR_RETURN(w.mlp, LoadMlp(weights_, config_, prefix + "mlp."));
    return w;
  }

  std::vector<Qwen3Layer> layers_;
};

}  // namespace

Result<std::unique_ptr<Model>> Load_qwen3(ModelConfig config, Weights weights) {
  auto model = std::make_unique<Qwen3>(std::move(config), std::move(weights));
  ESA_RETURN_IF_ERROR(model->Load());
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace esa
