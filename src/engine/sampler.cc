#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

namespace esa {
namespace {

constexpr std::size_t kSortedAtOnce = 256;

std::int32_t Best(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, std::size_t index)
    : params_(params), random_(params.seed + 0x9e3779b97f4a7c15u * index) {}

std::span<const float> Sampler::Penalised(std::span<const float> logits,
                                          std::span<const std::int32_t> context) {
  if (params_.repetition_penalty == 1.0) return logits;
  is_seen_.resize(logits.size());
  for (; read_ < context.size(); ++read_) {
    const std::int32_t id = context[read_];
    if (is_seen_[static_cast<std::size_t>(id)]) continue;
    is_seen_[static_cast<std::size_t>(id)] = true;
    seen_.push_back(id);
  }
  logits_.assign(logits.begin(), logits.end());
  const float penalty = static_cast<float>(params_.repetition_penalty);
  for (std::int32_t id : seen_) {
    float& logit = logits_[static_cast<std::size_t>(id)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
  return logits_;
}

// At least `count` of the candidates, or all.
void Sampler::SortTo(std::size_t count) {
  if (count <= sorted_) return;
  count = std::min(candidates_.size(), std::max({count, kSortedAtOnce, 2 * sorted_}));
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const auto first = candidates_.begin() + static_cast<std::ptrdiff_t>(sorted_);
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(count);
  if (end != candidates_.end()) std::nth_element(first, end, candidates_.end(), before);
  std::sort(first, end, before);
  sorted_ = count;
}

// The first `count`.
void Sampler::Keep(std::size_t count) {
  candidates_.resize(std::min(count, candidates_.size()));
  sorted_ = std::min(sorted_, candidates_.size());
}

// Softmax weights; their sum.
double Sampler::Weigh() {
  double sum = 0;
  const double top = candidates_.front().logit;
  for (Candidate& c : candidates_) {
    c.weight = std::exp((c.logit - top) / params_.temperature);
    sum += c.weight;
  }
  return sum;
}

double Sampler::CutTopP(double sum) {
  double kept = 0;
  std::size_t count = 0;
  while (count < candidates_.size() && kept < params_.top_p * sum) {
    SortTo(count + 1);
    kept += candidates_[count++].weight;
  }
  if (count == 0) kept = candidates_[count++].weight;
  Keep(count);
  return kept;
}

// The best has a weight of one and stays.
double Sampler::CutMinP(double sum) {
  std::erase_if(candidates_, [&](const Candidate& c) {
    if (c.weight == 1 || c.weight >= params_.min_p) return false;
    sum -= c.weight;
    return true;
  });
  sorted_ = std::min(sorted_, candidates_.size());
  return sum;
}

std::int32_t Sampler::Draw(double sum) {
  const double uniform = static_cast<double>(random_.Next() >> 11) * 0x1.0p-53;
  double left = uniform * sum;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    SortTo(i + 1);
    left -= candidates_[i].weight;
    if (left < 0) return candidates_[i].id;
  }
  return candidates_.back().id;
}

std::int32_t Sampler::Next(std::span<const float> raw, std::span<const std::int32_t> context) {
  const std::span<const float> logits = Penalised(raw, context);
  if (params_.temperature <= 0) return Best(logits);
  candidates_.clear();
  candidates_.reserve(logits.size());
  sorted_ = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    candidates_.push_back({static_cast<std::int32_t>(i), logits[i], 0});
  }
  const auto top_k = static_cast<std::size_t>(std::max<std::int64_t>(params_.top_k, 1));
  SortTo(top_k);
  if (params_.top_k > 0) Keep(top_k);
  double sum = Weigh();
  if (params_.top_p < 1.0) sum = CutTopP(sum);
  if (params_.min_p > 0) sum = CutMinP(sum);
  return Draw(sum);
}

}  // namespace esa
