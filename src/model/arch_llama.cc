// Llama 2 and 3: RMS norms, grouped-query attention with rotary positions (Llama 3.1's scaling),
// gated MLP. Biases on q, k, v and o where config.json sets attention_bias.
//
//   hidden += o(attention(rope(q(norm(hidden))), rope(k(..)), v(..)))
//   hidden += down(silu(gate(norm(hidden))) * up(..))
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "model/architectures.h"
#include "model/layers.h"

namespace esa {
namespace {

struct LlamaLayer {
  std::vector<float> input_norm;  // [hidden_size]
  AttentionProjections attention;
  std::vector<float> mlp_norm;  // [hidden_size]
  GatedMlp mlp;
};

class Llama final : public Decoder {
 public:
  Llama(ModelConfig config, Weights weights) : Decoder(std::move(config), std::move(weights)) {}

  Status Load() {
    ESA_RETURN_IF_ERROR(LoadEnds());
    for (int i = 0; i < config_.num_layers; ++i) {
      ESA_ASSIGN_OR_RETURN(LlamaLayer layer, LoadLayer(LayerPrefix(i)));
      layers_.push_back(std::move(layer));
    }
    return {};
  }

  Status ForwardLayer(int layer, const ForwardBatch& batch, AttentionBackend& attention,
                      ForwardScratch& scratch) const override {
    const LlamaLayer& w = layers_[static_cast<std::size_t>(layer)];
    Norm(w.input_norm, batch, scratch);
    ProjectQkv(w.attention, batch.rows, scratch);
    Rotate(batch.positions, scratch);
    ESA_RETURN_IF_ERROR(AddAttention(layer, w.attention.o, batch, attention, scratch));
    Norm(w.mlp_norm, batch, scratch);
    AddMlp(w.mlp, batch, scratch);
    return {};
  }

 private:
  Result<LlamaLayer> LoadLayer(const std::string& prefix) {
    const std::int64_t hidden = config_.hidden_size;
    const bool bias = config_.attention_bias;
    LlamaLayer w;
    ESA_ASSIGN_OR_RETURN(w.input_norm, weights_.Vector(prefix + "input_layernorm.weight", hidden));
    ESA_ASSIGN_OR_RETURN(w.attention,
                         LoadAttention(weights_, config_, prefix + "self_attn.", bias, bias));
    ESA_ASSIGN_OR_RETURN(w.mlp_norm,
                         weights_.Vector(prefix + "post_attention_layernorm.weight", hidden));
    ESA_ASSIGN_OR_RETURN(w.mlp, LoadMlp(weights_, config_, prefix + "mlp."));
    return w;
  }

  std::vector<LlamaLayer> layers_;
};

}  // namespace

Result<std::unique_ptr<Model>> Load_llama(ModelConfig config, Weights weights) {
  auto model = std::make_unique<Llama>(std::move(config), std::move(weights));
  ESA_RETURN_IF_ERROR(model->Load());
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace esa
