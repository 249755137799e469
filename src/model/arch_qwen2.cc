// Qwen2 and Qwen2.5: as Llama, with biases on q, k and v always and never on o.
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

struct Qwen2Layer {
  std::vector<float> input_norm;  // [hidden_size]
  AttentionProjections attention;
  std::vector<float> mlp_norm;  // [hidden_size]
  GatedMlp mlp;
};

class Qwen2 final : public Decoder {
 public:
  Qwen2(ModelConfig config, Weights weights) : Decoder(std::move(config), std::move(weights)) {}

  Status Load() {
    ESA_RETURN_IF_ERROR(LoadEnds());
    for (int i = 0; i < config_.num_layers; ++i) {
      ESA_ASSIGN_OR_RETURN(Qwen2Layer layer, LoadLayer(LayerPrefix(i)));
      layers_.push_back(std::move(layer));
    }
    return {};
  }

  Status ForwardLayer(int layer, const ForwardBatch& batch, AttentionBackend& attention,
                      ForwardScratch& scratch) const override {
    const Qwen2Layer& w = layers_[static_cast<std::size_t>(layer)];
    Norm(w.input_norm, batch, scratch);
    ProjectQkv(w.attention, batch.rows, scratch);
    Rotate(batch.positions, scratch);
    ESA_RETURN_IF_ERROR(AddAttention(layer, w.attention.o, batch, attention, scratch));
    Norm(w.mlp_norm, batch, scratch);
    AddMlp(w.mlp, batch, scratch);
    return {};
  }

 private:
  Result<Qwen2Layer> LoadLayer(const std::string& prefix) {
    const std::int64_t hidden = config_.hidden_size;
    Qwen2Layer w;
    ESA_ASSIGN_OR_RETURN(w.input_norm, weights_.Vector(prefix + "input_layernorm.weight", hidden));
    ESA_ASSIGN_OR_RETURN(w.attention,
                         LoadAttention(weights_, config_, prefix + "self_attn.", true, false));
    ESA_ASSIGN_OR_RETURN(w.mlp_norm,
                         weights_.Vector(prefix + "post_attention_layernorm.weight", hidden));
    ESA_ASSIGN_OR_RETURN(w.mlp, LoadMlp(weights_, config_, prefix + "mlp."));
    return w;
  }

  std::vector<Qwen2Layer> layers_;
};

}  // namespace

Result<std::unique_ptr<Model>> Load_qwen2(ModelConfig config, Weights weights) {
  auto model = std::make_unique<Qwen2>(std::move(config), std::move(weights));
  ESA_RETURN_IF_ERROR(model->Load());
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace esa
