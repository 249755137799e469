#include "engine/sampler.h"

#include <gtest/gtest.h>

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
