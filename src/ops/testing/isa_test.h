// What the tests of kernels share: one run for each instruction set, random values, comparison.
#pragma once

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "ops/isa.h"

namespace esa {

// Runs a test on the instruction set that is its parameter.
class IsaTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override { ForceIsa(GetParam()); }
  void TearDown() override { ForceIsa(AvailableIsas().back()); }
};

inline std::string IsaTestName(const testing::TestParamInfo<Isa>& info) {
  return std::string(IsaName(info.param));
}

// Every value of AvailableIsas().
#define ESA_TEST_EVERY_ISA(suite)                                                             \
  INSTANTIATE_TEST_SUITE_P(EveryIsa, suite,                                                   \
                           testing::ValuesIn(AvailableIsas().begin(), AvailableIsas().end()), \
                           IsaTestName)

class RandomValues {
 public:
  explicit RandomValues(unsigned seed) : engine_(seed) {}
  std::vector<float> Normal(std::int64_t count, float deviation = 1) {
    std::normal_distribution<float> distribution(0, deviation);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = distribution(engine_);
    return values;
  }

 private:
  std::mt19937 engine_;
};

// The largest difference, relative to the largest magnitude of `expected`; infinite for a NaN.
inline double RelativeError(std::span<const float> actual, std::span<const double> expected) {
  double error = 0;
  double magnitude = 1e-30;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(actual[i] - expected[i]);
    if (std::isnan(difference)) return INFINITY;
    error = std::max(error, difference);
    magnitude = std::max(magnitude, std::abs(expected[i]));
  }
  return error / magnitude;
}

// Runs op() with one thread and with two; both must write the same bits to what op() returns.
template <class Op>
void ExpectSameForAnyThreads(Op op) {
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::vector<float> one = op();
  omp_set_num_threads(2);
  const std::vector<float> two = op();
  omp_set_num_threads(threads);
  EXPECT_EQ(one, two);
}

}  // namespace esa
