#include "ops/elementwise.h"

#include <array>
#include <cmath>

#include "ops/testing/isa_test.h"

namespace esa {
namespace {

class ElementwiseTest : public IsaTest {};
ESA_TEST_EVERY_ISA(ElementwiseTest);

TEST_P(ElementwiseTest, RmsNorm) {
  RandomValues random(1);
  for (const std::int64_t n : {1, 7, 16, 33, 64, 896, 1000}) {
    const std::int64_t rows = n == 896 ? 64 : 3;
    const std::vector<float> x = random.Normal(rows * n, 3);
    const std::vector<float> weight = random.Normal(n);
    std::vector<double> expected;
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* row = x.data() + r * n;
      double sum = 0;
      for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(row[i]) * row[i];
      const double factor = 1 / std::sqrt(sum / static_cast<double>(n) + 1e-6);
      for (std::int64_t i = 0; i < n; ++i) {
        expected.push_back(row[i] * factor * weight[static_cast<std::size_t>(i)]);
      }
    }
    ExpectSameForAnyThreads([&] {
      std::vector<float> y = x;
      RmsNorm(y.data(), rows, weight, 1e-6f, y.data());
      EXPECT_LT(RelativeError(y, expected), 1e-6) << n;
      return y;
    });
  }
}

TEST_P(ElementwiseTest, RopeIsAccurateAtAMillion) {
  RandomValues random(2);
  for (const int head_dim : {2, 8, 64, 80, 128}) {
    const int num_heads = head_dim == 128 ? 30 : 3;
    std::vector<float> inverse_frequency;
    for (int i = 0; i < head_dim / 2; ++i) {
      inverse_frequency.push_back(
          std::pow(10000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(head_dim)));
    }
    const std::array<std::int32_t, 12> positions = {0,     1,      2,      3,      4,      5,
                                                    65537, 999999, 999998, 999997, 999996, 131071};
    const std::vector<float> x = random.Normal(std::ssize(positions) * num_heads * head_dim);
    std::vector<double> expected;
    for (std::size_t r = 0; r < positions.size(); ++r) {
      for (int h = 0; h < num_heads; ++h) {
        const float* head = x.data() + (static_cast<std::int64_t>(r) * num_heads + h) * head_dim;
        const int half = head_dim / 2;
        for (int i = 0; i < head_dim; ++i) {
          const double angle = static_cast<float>(positions[r]) *
                               inverse_frequency[static_cast<std::size_t>(i % half)];
          const double other = i < half ? -head[i + half] : head[i - half];
          expected.push_back(head[i] * std::cos(angle) + other * std::sin(angle));
        }
      }
    }
    ExpectSameForAnyThreads([&] {
      std::vector<float> y = x;
      Rope(y.data(), positions, num_heads, head_dim, inverse_frequency);
      EXPECT_LT(RelativeError(y, expected), 5e-7) << head_dim;
      return y;
    });
  }
}

TEST_P(ElementwiseTest, SwiGlu) {
  RandomValues random(3);
  for (const std::int64_t n : {1, 5, 16, 31, 1000, 70001}) {
    std::vector<float> gate = random.Normal(n, 5);
    gate[0] = -200;
    gate[static_cast<std::size_t>(n) - 1] = 200;
    const std::vector<float> up = random.Normal(n);
    ExpectSameForAnyThreads([&] {
      std::vector<float> y = gate;
      SwiGlu(y.data(), up.data(), n, y.data());
      for (std::size_t i = 0; i < y.size(); ++i) {
        const double g = gate[i];
        const double expected = g / (1 + std::exp(-g)) * up[i];
        EXPECT_NEAR(y[i], expected, 1e-6 * std::abs(expected) + 1e-30) << g;
      }
      return y;
    });
  }
}

TEST_P(ElementwiseTest, SwiGluKeepsNan) {
  const std::vector<float> gate(20, NAN);
  const std::vector<float> up(20, 1.0f);
  std::vector<float> y(20);
  SwiGlu(gate.data(), up.data(), 20, y.data());
  for (const float value : y) EXPECT_TRUE(std::isnan(value));
}

TEST_P(ElementwiseTest, AddInPlace) {
  RandomValues random(4);
  for (const std::int64_t n : {1, 15, 16, 1000, 70001}) {
    const std::vector<float> x = random.Normal(n);
    const std::vector<float> y = random.Normal(n);
    ExpectSameForAnyThreads([&] {
      std::vector<float> sum = y;
      AddInPlace(x.data(), n, sum.data());
      for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(sum[i], x[i] + y[i]);
      return sum;
    });
  }
}

}  // namespace
}  // namespace esa
