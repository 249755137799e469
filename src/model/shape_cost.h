// What a forward pass has to do, from a model's shape alone: the figures that measured ones are set
// beside.
//
// Multiply-adds count as two operations. Norms, rotations and activations are left out: they are a
// thousandth of the rest.
#pragma once

#include <cstdint>

#include "model/model.h"

namespace esa {

// Weights of the matrices of all layers.
std::int64_t LayerParameters(const ModelConfig& config);

// Of the output head; the embedding too where they are tied.
std::int64_t HeadParameters(const ModelConfig& config);

// Of attention, over all layers and heads, for one query token with `context` keys.
double AttentionOperations(const ModelConfig& config, double context);

// Of prefill of `tokens` behind `depth` others: causal, logits of the last token alone.
double PrefillOperations(const ModelConfig& config, std::int64_t depth, std::int64_t tokens);

}  // namespace esa
