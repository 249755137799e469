#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace esa {
namespace {

const std::vector<float> kLogits = {0.0f, 3.0f, 2.0f, 3.0f, -1.0f};

std::set<std::int32_t> Drawn(const SamplingParams& params) {
  Sampler sampler(params, 0);
  std::set<std::int32_t> ids;
  for (int i = 0; i < 2000; ++i) ids.insert(sampler.Next(kLogits, {}));
  return ids;
}

TEST(SamplerTest, GreedyTakesTheLowestOfTheBest) {
  Sampler sampler({}, 0);
  EXPECT_EQ(sampler.Next(kLogits, {}), 1);
}

TEST(SamplerTest, RepetitionPenaltyMovesToTheNext) {
  Sampler sampler({.repetition_penalty = 2.0}, 0);
  const std::vector<std::int32_t> context = {1, 1};
  EXPECT_EQ(sampler.Next(kLogits, context), 3);
}

TEST(SamplerTest, CutsBoundWhatIsDrawn) {
  EXPECT_EQ(Drawn({.temperature = 1.0, .top_k = 2}), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(Drawn({.temperature = 1.0, .top_p = 0.5}), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(Drawn({.temperature = 1.0, .min_p = 0.3}), (std::set<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(Drawn({.temperature = 5.0}).size(), kLogits.size());
}

// The same as sorting all of a large vocabulary first.
TEST(SamplerTest, LargeVocabulary) {
  constexpr int kVocabulary = 5000;
  SplitMix64 random(3);
  std::vector<float> logits;
  for (int i = 0; i < kVocabulary; ++i)
    logits.push_back(static_cast<float>(random.Next() % 400) / 100);
  std::vector<std::int32_t> order(kVocabulary);
  for (int i = 0; i < kVocabulary; ++i) order[static_cast<std::size_t>(i)] = i;
  const auto logit = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
  std::ranges::stable_sort(order, [&](auto a, auto b) { return logit(a) > logit(b); });
  std::vector<double> up_to;  // weights, in that order
  for (std::int32_t id : order) {
    up_to.push_back((up_to.empty() ? 0 : up_to.back()) + std::exp(logit(id) - logit(order[0])));
  }
  for (const SamplingParams& params : {SamplingParams{.temperature = 1.0, .seed = 5},
                                       {.temperature = 1.0, .top_k = 700, .seed = 5},
                                       {.temperature = 1.0, .top_p = 0.6, .seed = 5},
                                       {.temperature = 1.0, .min_p = 0.5, .seed = 5}}) {
    std::size_t count = order.size();
    if (params.top_k > 0) count = static_cast<std::size_t>(params.top_k);
    while (params.top_p < 1 && up_to[count - 2] >= params.top_p * up_to.back()) --count;
    while (std::exp(logit(order[count - 1]) - logit(order[0])) < params.min_p) --count;
    Sampler sampler(params, 0);
    SplitMix64 uniform(params.seed);
    for (int i = 0; i < 300; ++i) {
      const double at = static_cast<double>(uniform.Next() >> 11) * 0x1.0p-53 * up_to[count - 1];
      const auto drawn = std::ranges::upper_bound(up_to, at) - up_to.begin();
      EXPECT_EQ(sampler.Next(logits, {}), order[static_cast<std::size_t>(drawn)]);
    }
  }
}

TEST(SamplerTest, TheContextGrows) {
  Sampler sampler({.repetition_penalty = 4.0}, 0);
  std::vector<std::int32_t> context = {1};
  EXPECT_EQ(sampler.Next(kLogits, context), 3);
  context.push_back(3);
  EXPECT_EQ(sampler.Next(kLogits, context), 2);
  EXPECT_EQ(sampler.Next(kLogits, context), 2);
}

TEST(SamplerTest, SameSeedSameTokens) {
  const SamplingParams params{.temperature = 2.0, .seed = 11};
  Sampler a(params, 0), b(params, 0), c(params, 1);
  int same = 0;
  for (int i = 0; i < 200; ++i) {
    const std::int32_t id = a.Next(kLogits, {});
    EXPECT_EQ(id, b.Next(kLogits, {}));
    same += id == c.Next(kLogits, {}) ? 1 : 0;
  }
  EXPECT_LT(same, 200);
}

}  // namespace
}  // namespace esa
