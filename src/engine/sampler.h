// Picks the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "esa/llm.h"

namespace esa {

// One sequence's sampler. Greedy at temperature 0; else top-k, top-p and min-p cut the softmax of
// logits / temperature in this order. Equal logits: the lower id wins. The same seed gives the
// same tokens.
class Sampler {
 public:
  Sampler(const SamplingParams& params, std::size_t index);

  // logits [vocab_size]; `context` are the tokens that the repetition penalty applies to, each time
  // those of the last and more.
  std::int32_t Next(std::span<const float> logits, std::span<const std::int32_t> context);

 private:
  struct Candidate {
    std::int32_t id;
    float logit;
    double weight;  // softmax numerator; that of the best is one
  };

  std::span<const float> Penalised(std::span<const float> logits,
                                   std::span<const std::int32_t> context);
  void SortTo(std::size_t count);
  void Keep(std::size_t count);
  double Weigh();
  double CutTopP(double sum);
  double CutMinP(double sum);
  std::int32_t Draw(double sum);

  SamplingParams params_;
  SplitMix64 random_;

  // Of the repetition penalty.
  std::size_t read_ = 0;  // tokens of the context
  std::vector<bool> is_seen_;
  std::vector<std::int32_t> seen_;
  std::vector<float> logits_;

  // Most draws end within the best few of a large vocabulary: no more are sorted than are looked
  // at.
  std::vector<Candidate> candidates_;
  std::size_t sorted_ = 0;  // the best of them, at the front, by falling logit
};

}  // namespace esa
