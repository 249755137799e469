// Picks the next token from logits.
#pragma once

#include <cstdint>
#include <span>

#include "base/random.h"
#include "esa/llm.h"

namespace esa {

// One sequence's sampler. Greedy at temperature 0; else top-k, top-p and min-p cut the softmax of
// logits / temperature in this order. Equal logits: the lower id wins. The same seed gives the
// same tokens.
class Sampler {
 public:
  Sampler(const SamplingParams& params, std::size_t index);

  // logits [vocab_size]; `context` are the tokens that the repetition penalty applies to.
  std::int32_t Next(std::span<const float> logits, std::span<const std::int32_t> context);

 private:
  SamplingParams params_;
  SplitMix64 random_;
};

}  // namespace esa
