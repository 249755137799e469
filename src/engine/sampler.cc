#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <vector>

namespace esa {
namespace {

struct Candidate {
  std::int32_t id;
  float logit;
  double weight = 0;  // softmax numerator
};

std::int32_t Best(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Softmax weights at `temperature` of candidates sorted by falling logit; their sum.
double Weigh(std::vector<Candidate>* candidates, double temperature) {
  double sum = 0;
  const double top = candidates->front().logit;
  for (Candidate& c : *candidates) {
    c.weight = std::exp((c.logit - top) / temperature);
    sum += c.weight;
  }
  return sum;
}

double CutTopP(std::vector<Candidate>* candidates, double top_p, double sum) {
  double kept = 0;
  std::size_t count = 0;
  while (count < candidates->size() && kept < top_p * sum) kept += (*candidates)[count++].weight;
  count = std::max<std::size_t>(count, 1);
  candidates->resize(std::min(count, candidates->size()));
  return kept;
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, std::size_t index)
    : params_(params), random_(params.seed + 0x9e3779b97f4a7c15u * index) {}

std::int32_t Sampler::Next(std::span<const float> raw, std::span<const std::int32_t> context) {
  std::vector<float> logits(raw.begin(), raw.end());
  if (params_.repetition_penalty != 1.0) {
    const std::unordered_set<std::int32_t> seen(context.begin(), context.end());
    const float penalty = static_cast<float>(params_.repetition_penalty);
    for (std::int32_t id : seen) {
      float& logit = logits[static_cast<std::size_t>(id)];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
  }
  if (params_.temperature <= 0) return Best(logits);

  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    candidates.push_back({static_cast<std::int32_t>(i), logits[i]});
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  });
  if (params_.top_k > 0 && static_cast<std::size_t>(params_.top_k) < candidates.size()) {
    candidates.resize(static_cast<std::size_t>(params_.top_k));
  }
  double sum = Weigh(&candidates, params_.temperature);
  if (params_.top_p < 1.0) sum = CutTopP(&candidates, params_.top_p, sum);
  while (candidates.size() > 1 && candidates.back().weight < params_.min_p) {
    sum -= candidates.back().weight;
    candidates.pop_back();
  }
  const double uniform = static_cast<double>(random_.Next() >> 11) * 0x1.0p-53;
  double left = uniform * sum;
  for (const Candidate& c : candidates) {
    left -= c.weight;
    if (left < 0) return c.id;
  }
  return candidates.back().id;
}

}  // namespace esa
