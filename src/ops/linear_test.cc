#include "ops/linear.h"

#include <algorithm>

#include "ops/numeric.h"
#include "ops/quantize.h"
#include "ops/testing/isa_test.h"

namespace esa {
namespace {

class LinearTest : public IsaTest {};
ESA_TEST_EVERY_ISA(LinearTest);

// A matrix in its stored type and the f32 values it stands for.
struct Matrix {
  std::vector<std::uint16_t> halves;
  std::vector<float> values;
  WeightView view;
};

Matrix MakeMatrix(DType dtype, std::int64_t rows, std::int64_t cols) {
  Matrix matrix;
  matrix.values = RandomValues(static_cast<unsigned>(rows + cols)).Normal(rows * cols);
  if (dtype != DType::kF32) {
    for (float& value : matrix.values) {
      const bool is_bf16 = dtype == DType::kBf16;
      matrix.halves.push_back(is_bf16 ? Bf16FromFloat(value) : F16FromFloat(value));
      value = is_bf16 ? FloatFromBf16(matrix.halves.back()) : FloatFromF16(matrix.halves.back());
    }
  }
  const void* data = dtype == DType::kF32 ? static_cast<const void*>(matrix.values.data())
                                          : static_cast<const void*>(matrix.halves.data());
  matrix.view = {.data = data, .dtype = dtype, .rows = rows, .cols = cols};
  return matrix;
}

std::vector<double> Reference(const Matrix& matrix, std::span<const float> bias,
                              std::span<const float> x, std::int64_t m) {
  const std::int64_t cols = matrix.view.cols;
  std::vector<double> y;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t n = 0; n < matrix.view.rows; ++n) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<std::size_t>(n)];
      for (std::int64_t k = 0; k < cols; ++k) {
        sum += static_cast<double>(x[static_cast<std::size_t>(i * cols + k)]) *
               matrix.values[static_cast<std::size_t>(n * cols + k)];
      }
      y.push_back(sum);
    }
  }
  return y;
}

void CheckShape(DType dtype, std::int64_t m, std::int64_t rows, std::int64_t cols, bool has_bias) {
  const Matrix matrix = MakeMatrix(dtype, rows, cols);
  RandomValues random(5);
  const std::vector<float> x = random.Normal(m * cols);
  const std::vector<float> bias = random.Normal(has_bias ? rows : 0);
  const std::vector<double> expected = Reference(matrix, bias, x, m);
  // bf16 activations err by at most 2^-9 of each term; the sum by about that of its magnitude.
  const double tolerance = dtype == DType::kBf16 && m >= kMatrixRows ? 4e-3 : 2e-6;
  ExpectSameForAnyThreads([&] {
    std::vector<float> y(expected.size(), NAN);
    Linear(matrix.view, bias, x.data(), m, y.data());
    EXPECT_LT(RelativeError(y, expected), tolerance)
        << m << " x " << rows << " x " << cols << " bias " << has_bias;
    return y;
  });
}

TEST_P(LinearTest, MatchesDouble) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    for (const std::int64_t m : {1, 2, 3, 4, 5, 7, 15, 16, 17, 65}) {
      CheckShape(dtype, m, 33, 100, true);
      CheckShape(dtype, m, 4, 64, false);
      CheckShape(dtype, m, 7, 5, m % 2 == 0);
    }
  }
  CheckShape(DType::kBf16, 3, 2049, 896, true);
  CheckShape(DType::kBf16, 40, 900, 896, true);
  CheckShape(DType::kF16, 16, 4200, 512, true);
}

// A matrix of integers and the f32 values they stand for.
struct QuantizedMatrix {
  std::vector<std::byte> panels;
  std::vector<float> given;
  Matrix matrix;
};

QuantizedMatrix Quantized(DType dtype, std::int64_t rows, std::int64_t cols) {
  QuantizedMatrix made;
  made.given = RandomValues(static_cast<unsigned>(rows + cols)).Normal(rows * cols);
  made.panels.resize(static_cast<std::size_t>(QuantizedBytes(dtype, rows, cols)));
  const std::int64_t panel_bytes = QuantizedPanelBytes(dtype, cols);
  for (std::int64_t r = 0; r < rows; r += kQuantizedRows) {
    QuantizePanel(dtype, made.given.data() + r * cols, std::min(kQuantizedRows, rows - r), cols,
                  made.panels.data() + r / kQuantizedRows * panel_bytes);
  }
  made.matrix.view = {.data = made.panels.data(), .dtype = dtype, .rows = rows, .cols = cols};
  made.matrix.values.resize(made.given.size());
  const Isa isa = CurrentIsa();
  ForceIsa(Isa::kScalar);
  for (std::int64_t r = 0; r < rows; ++r) {
    CopyRow(made.matrix.view, r, made.matrix.values.data() + r * cols);
  }
  ForceIsa(isa);
  return made;
}

TEST_P(LinearTest, ARowDoesNotDependOnTheOthersBelowKMatrixRows) {
  const std::int64_t cols = 200;
  const std::int64_t rows = 21;
  RandomValues random(6);
  const std::vector<float> x = random.Normal(kMatrixRows * cols);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16, DType::kInt8, DType::kInt4}) {
    const QuantizedMatrix quantized =
        Quantized(IsQuantized(dtype) ? dtype : DType::kInt8, rows, cols);
    const Matrix matrix = IsQuantized(dtype) ? quantized.matrix : MakeMatrix(dtype, rows, cols);
    std::vector<float> alone;
    for (std::int64_t i = 0; i < kMatrixRows - 1; ++i) {
      std::vector<float> y(rows);
      Linear(matrix.view, {}, x.data() + i * cols, 1, y.data());
      alone.insert(alone.end(), y.begin(), y.end());
    }
    for (std::int64_t m = 1; m < kMatrixRows; ++m) {
      std::vector<float> y(static_cast<std::size_t>(m * rows));
      Linear(matrix.view, {}, x.data(), m, y.data());
      EXPECT_TRUE(std::equal(y.begin(), y.end(), alone.begin())) << m;
    }
  }
}

TEST_P(LinearTest, CopyRow) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    const Matrix matrix = MakeMatrix(dtype, 5, 37);
    std::vector<float> row(37);
    CopyRow(matrix.view, 3, row.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), matrix.values.begin() + 3 * 37));
  }
}

// Whether m rows meet integers as f32, through oneDNN.
bool AreWidened([[maybe_unused]] std::int64_t m) {
#ifdef ESA_HAVE_ONEDNN
  return m >= kMatrixRows && CurrentIsa() < Isa::kAvx2;
#else
  return false;
#endif
}

class QuantizedLinearTest : public IsaTest {};
ESA_TEST_EVERY_ISA(QuantizedLinearTest);

TEST_P(QuantizedLinearTest, IntegersAreNearTheirWeights) {
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    const QuantizedMatrix made = Quantized(dtype, 9, 200);
    const std::vector<double> given(made.given.begin(), made.given.end());
    EXPECT_LT(RelativeError(made.matrix.values, given), dtype == DType::kInt8 ? 0.005 : 0.13);
    std::vector<float> row(200);
    CopyRow(made.matrix.view, 4, row.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), made.matrix.values.begin() + 4 * 200));
  }
}

TEST_P(QuantizedLinearTest, MatchesDouble) {
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    for (const std::int64_t m : {1, 2, 3, 4, 5, 15, 16, 40}) {
      for (const auto& [rows, cols] : {std::pair{33, 100}, {4, 32}, {7, 5}, {130, 896}, {9, 520}}) {
        const QuantizedMatrix made = Quantized(dtype, rows, cols);
        RandomValues random(5);
        const std::vector<float> x = random.Normal(m * cols);
        const std::vector<float> bias = random.Normal(m % 2 == 0 ? rows : 0);
        const std::vector<double> expected = Reference(made.matrix, bias, x, m);
        // Activations err by a 254th of the largest of their group, unless weights are widened.
        const double tolerance = AreWidened(m) ? 2e-6 : 1e-2;
        ExpectSameForAnyThreads([&] {
          std::vector<float> y(expected.size(), NAN);
          Linear(made.matrix.view, bias, x.data(), m, y.data());
          EXPECT_LT(RelativeError(y, expected), tolerance) << m << " x " << rows << " x " << cols;
          return y;
        });
      }
    }
  }
}

TEST_P(QuantizedLinearTest, ARowDoesNotDependOnTheOthers) {
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    for (const auto& [rows, cols] : {std::pair{21, 200}, {150, 1100}, {300, 64}}) {
      const QuantizedMatrix made = Quantized(dtype, rows, cols);
      RandomValues random(6);
      for (const std::int64_t m : {7, 8, 9, 40, 131}) {
        if (AreWidened(m)) continue;
        const std::vector<float> x = random.Normal(m * cols);
        const std::vector<float> bias = random.Normal(m % 2 == 0 ? rows : 0);
        std::vector<float> alone(static_cast<std::size_t>(m * rows));
        for (std::int64_t i = 0; i < m; ++i) {
          Linear(made.matrix.view, bias, x.data() + i * cols, 1, alone.data() + i * rows);
        }
        std::vector<float> together(alone.size(), NAN);
        Linear(made.matrix.view, bias, x.data(), m, together.data());
        EXPECT_EQ(together, alone) << m << " x " << rows << " x " << cols;
      }
    }
  }
}

// Activations that int8 holds exactly leave the rounding of f32 alone.
TEST_P(QuantizedLinearTest, ExactActivations) {
  for (const DType dtype : {DType::kInt8, DType::kInt4}) {
    const QuantizedMatrix made = Quantized(dtype, 37, 896);
    std::vector<float> x(5 * 896);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = i % 32 == 0 ? -127.0f : static_cast<float>(static_cast<int>(i * 7919 % 255) - 127);
    }
    const std::vector<double> expected = Reference(made.matrix, {}, x, 5);
    std::vector<float> y(expected.size(), NAN);
    Linear(made.matrix.view, {}, x.data(), 5, y.data());
    EXPECT_LT(RelativeError(y, expected), 2e-6);
  }
}

TEST_P(QuantizedLinearTest, SeveralOutputsAreThoseOfEach) {
  const QuantizedMatrix a = Quantized(DType::kInt8, 300, 96);
  const QuantizedMatrix b = Quantized(DType::kInt4, 40, 96);
  const Matrix c = MakeMatrix(DType::kBf16, 10, 96);
  RandomValues random(3);
  for (const std::int64_t m : {1, 3, 20}) {
    const std::vector<float> x = random.Normal(m * 96);
    const std::vector<float> bias = random.Normal(40);
    const WeightView* views[] = {&a.matrix.view, &b.matrix.view, &c.view};
    std::vector<std::vector<float>> together;
    std::vector<LinearOutput> outputs;
    for (const WeightView* view : views) {
      together.emplace_back(static_cast<std::size_t>(m * view->rows), NAN);
    }
    for (std::size_t i = 0; i < 3; ++i) {
      outputs.push_back({.weight = views[i],
                         .bias = i == 1 ? std::span<const float>(bias) : std::span<const float>(),
                         .y = together[i].data()});
    }
    Linear(outputs, x.data(), m);
    for (std::size_t i = 0; i < 3; ++i) {
      std::vector<float> alone(together[i].size(), NAN);
      Linear(*views[i], outputs[i].bias, x.data(), m, alone.data());
      EXPECT_EQ(together[i], alone) << m << " " << i;
    }
  }
}

TEST_P(LinearTest, NothingToDo) {
  const Matrix matrix = MakeMatrix(DType::kBf16, 5, 37);
  Linear(matrix.view, {}, nullptr, 0, nullptr);
}

}  // namespace
}  // namespace esa
