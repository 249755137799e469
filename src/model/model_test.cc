// The architectures against transformers (tests/golden) and against llama2.c.
#include "model/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "model/architectures.h"
#include "model/layers.h"
#include "model/safetensors.h"
#include "model/test_data.h"
#include "ops/isa.h"
#include "ops/linear.h"

namespace esa {
namespace {

// Causal attention over all rows seen so far, kept per layer; sums in double.
class ReferenceAttention final : public AttentionBackend {
 public:
  explicit ReferenceAttention(const ModelConfig& config)
      : config_(config), layers_(static_cast<std::size_t>(config.num_layers)) {}

  Status Attend(int layer, const float* q, const float* k, const float* v, std::int64_t rows,
                float* out) override {
    Cache& cache = layers_[static_cast<std::size_t>(layer)];
    const std::int64_t kv_size = std::int64_t{config_.num_kv_heads} * config_.head_dim;
    const auto before = static_cast<std::int64_t>(cache.k.size()) / kv_size;
    cache.k.insert(cache.k.end(), k, k + rows * kv_size);
    cache.v.insert(cache.v.end(), v, v + rows * kv_size);
    for (std::int64_t row = 0; row < rows; ++row) {
      for (int head = 0; head < config_.num_heads; ++head) {
        const std::int64_t at = (row * config_.num_heads + head) * config_.head_dim;
        AttendHead(cache, head, before + row + 1, q + at, out + at);
      }
    }
    return {};
  }

 private:
  struct Cache {
    std::vector<float> k, v;  // [tokens, num_kv_heads, head_dim]
  };

  // q, out [head_dim]
  void AttendHead(const Cache& cache, int head, std::int64_t tokens, const float* q,
                  float* out) const {
    const int dim = config_.head_dim;
    const int kv_head = head / (config_.num_heads / config_.num_kv_heads);
    const auto row_of = [&](std::int64_t token) {
      return (token * config_.num_kv_heads + kv_head) * dim;
    };
    std::vector<double> weights;
    for (std::int64_t token = 0; token < tokens; ++token) {
      weights.push_back(std::inner_product(q, q + dim, cache.k.data() + row_of(token), 0.0) /
                        std::sqrt(dim));
    }
    const double top = *std::ranges::max_element(weights);
    double sum = 0;
    for (double& weight : weights) sum += weight = std::exp(weight - top);
    std::vector<double> mean(static_cast<std::size_t>(dim));
    for (std::int64_t token = 0; token < tokens; ++token) {
      const float* value = cache.v.data() + row_of(token);
      const double weight = weights[static_cast<std::size_t>(token)] / sum;
      for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += weight * value[i];
    }
    std::ranges::copy(mean, out);
  }

  const ModelConfig config_;
  std::vector<Cache> layers_;
};

// Logits of all tokens, [tokens.size(), vocab_size], computed `chunk` rows at a time.
std::vector<float> Logits(const Model& model, const std::vector<std::int32_t>& tokens,
                          const std::vector<std::int32_t>& positions, std::int64_t chunk) {
  const ModelConfig& config = model.config();
  ReferenceAttention attention(config);
  ForwardScratch scratch;
  std::vector<float> hidden(static_cast<std::size_t>(chunk * config.hidden_size));
  std::vector<float> logits(tokens.size() * static_cast<std::size_t>(config.vocab_size));
  const auto count = static_cast<std::int64_t>(tokens.size());
  for (std::int64_t at = 0; at < count; at += chunk) {
    const std::int64_t rows = std::min(chunk, count - at);
    const auto offset = static_cast<std::size_t>(at);
    const auto length = static_cast<std::size_t>(rows);
    model.Embed(std::span(tokens).subspan(offset, length), hidden.data());
    const ForwardBatch batch{.rows = rows,
                             .positions = std::span(positions).subspan(offset, length),
                             .hidden = hidden.data()};
    for (int layer = 0; layer < config.num_layers; ++layer) {
      EXPECT_TRUE(model.ForwardLayer(layer, batch, attention, scratch).ok());
    }
    model.Logits(hidden.data(), rows, logits.data() + at * config.vocab_size);
  }
  return logits;
}

// The largest absolute difference; infinite where a value is not a number.
double Deviation(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - b[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

template <class T>
std::vector<T> Values(const SafetensorsFile& file, const char* name) {
  const auto bytes = file.tensors().at(name).bytes;
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

struct GoldenCase {
  const char* name;
  const char* file = "golden.safetensors";
  double tolerance = 1e-4;
  double tolerance_of_many_rows = 1e-4;
  const char* gguf = nullptr;  // the same model as a file of tests/golden/gguf
};

void PrintTo(const GoldenCase& golden, std::ostream* os) {
  *os << (golden.gguf != nullptr ? golden.gguf : golden.name) << "/" << golden.file;
}

constexpr GoldenCase kGolden[] = {
    {.name = "llama_tied"},
    {.name = "llama_llama3_rope"},
    {.name = "llama_llama3_rope", .file = "golden_far.safetensors"},
    {.name = "qwen2_gqa7"},
    {.name = "qwen2_untied"},
    // Its bf16 weights meet activations rounded to bf16 where the rows are many.
    {.name = "qwen3_wide_heads", .tolerance_of_many_rows = 0.5},
    {.name = "qwen3_bias_untied"},
    {.name = "llama_llama3_rope", .gguf = "llama_llama3_rope.gguf"},
    {.name = "llama_llama3_rope",
     .file = "golden_far.safetensors",
     // The file's divisors are rounded to f32: far positions turn a little more or less.
     .tolerance = 5e-4,
     .tolerance_of_many_rows = 5e-4,
     .gguf = "llama_llama3_rope.gguf"},
    {.name = "qwen2_gqa7", .gguf = "split-00001-of-00002.gguf"},
    {.name = "qwen3_wide_heads", .tolerance_of_many_rows = 0.5, .gguf = "qwen3_wide_heads.gguf"},
};

class GoldenTest : public testing::TestWithParam<GoldenCase> {
 protected:
  void SetUp() override {
    const auto folder = GoldenData() / GetParam().name;
    const char* gguf = GetParam().gguf;
    auto model = Model::Load(gguf != nullptr ? GoldenData() / "gguf" / gguf : folder);
    ASSERT_TRUE(model.ok()) << model.error().message;
    model_ = std::move(*model);
    auto file = SafetensorsFile::Open(folder / GetParam().file);
    ASSERT_TRUE(file.ok()) << file.error().message;
    tokens_ = Values<std::int32_t>(*file, "token_ids");
    positions_ = Values<std::int32_t>(*file, "positions");
    expected_ = Values<float>(*file, "logits");
  }

  double DeviationIn(std::int64_t chunk) {
    const double deviation = Deviation(Logits(*model_, tokens_, positions_, chunk), expected_);
    RecordProperty("deviation_of_" + std::to_string(chunk) + "_rows", std::to_string(deviation));
    std::printf("%s, %d rows at a time: largest logit deviation %.2e\n",
                testing::PrintToString(GetParam()).c_str(), static_cast<int>(chunk), deviation);
    return deviation;
  }

  std::unique_ptr<Model> model_;
  std::vector<std::int32_t> tokens_, positions_;
  std::vector<float> expected_;
};

TEST_P(GoldenTest, LogitsOfFewRowsEqualTransformers) {
  EXPECT_LT(DeviationIn(1), GetParam().tolerance);
  EXPECT_LT(DeviationIn(kMatrixRows - 1), GetParam().tolerance);
}

TEST_P(GoldenTest, LogitsOfManyRowsEqualTransformers) {
  EXPECT_LT(DeviationIn(static_cast<std::int64_t>(tokens_.size())),
            GetParam().tolerance_of_many_rows);
}

INSTANTIATE_TEST_SUITE_P(Transformers, GoldenTest, testing::ValuesIn(kGolden));

TEST(ArchitecturesTest, EveryRowHasAGoldenModel) {
  for (const Architecture& architecture : Architectures()) {
    const bool covered = std::ranges::any_of(kGolden, [&](const GoldenCase& golden) {
      const auto config = ReadModelConfig(GoldenData() / golden.name);
      return config.ok() && config->architecture == architecture.name;
    });
    EXPECT_TRUE(covered) << architecture.name;
  }
}

TEST(StoriesTest, LogitsEqualLlama2c) {
  const auto folder = SharedData() / "checkpoints/stories260K";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  auto model = Model::Load(folder / "hf_converted");
  ASSERT_TRUE(model.ok()) << model.error().message;
  std::ifstream ids_file(folder / "golden_greedy_ids.txt");
  const std::vector<std::int32_t> ids{std::istream_iterator<std::int32_t>(ids_file), {}};
  const std::string bytes = ReadBytes(folder / "golden_greedy_logits_f32_200x512.bin");
  const auto vocab = static_cast<std::size_t>((*model)->config().vocab_size);
  std::vector<float> expected(bytes.size() / sizeof(float));
  std::memcpy(expected.data(), bytes.data(), bytes.size());
  ASSERT_EQ(ids.size(), 201u);
  ASSERT_EQ(expected.size(), 200 * vocab);

  // Row i follows token i; its argmax is token i + 1.
  std::vector<std::int32_t> positions(200);
  std::iota(positions.begin(), positions.end(), 0);
  const std::vector<std::int32_t> tokens(ids.begin(), ids.end() - 1);
  for (const std::int64_t chunk : {1, 64}) {
    const std::vector<float> logits = Logits(**model, tokens, positions, chunk);
    const double deviation = Deviation(logits, expected);
    std::printf("stories260K, %d rows at a time: largest logit deviation %.2e\n",
                static_cast<int>(chunk), deviation);
    EXPECT_LT(deviation, 1e-3);
    for (std::size_t i = 0; i < 200; ++i) {
      const auto row = std::span(logits).subspan(i * vocab, vocab);
      EXPECT_EQ(std::ranges::max_element(row) - row.begin(), ids[i + 1]) << "row " << i;
    }
  }
}

TEST(InverseFrequenciesTest, WithoutScalingTheyFallFromOneToTheta) {
  const auto frequencies = InverseFrequencies(8, 10000.0, {});
  const std::vector<float> expected = {1.0f, 0.1f, 0.01f, 0.001f};
  EXPECT_EQ(frequencies, expected);
}

TEST(InverseFrequenciesTest, Llama3KeepsShortBlendsMiddleAndStretchesLongWavelengths) {
  const RopeScaling scaling{
      .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_max_position = 8192};
  const auto plain = InverseFrequencies(128, 500000.0, {});
  const auto scaled = InverseFrequencies(128, 500000.0, scaling);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double wavelength = 2 * 3.14159265358979 / plain[i];
    const double ratio = double{plain[i]} / scaled[i];
    if (wavelength < 8192.0 / 4) {
      EXPECT_EQ(ratio, 1.0) << i;
    } else if (wavelength > 8192.0) {
      EXPECT_NEAR(ratio, 8.0, 1e-5) << i;
    } else {
      EXPECT_TRUE(ratio > 1 && ratio < 8) << i;
    }
  }
}

class FingerprintTest : public testing::Test {
 protected:
  std::array<std::uint8_t, 16> Of(const std::filesystem::path& folder) {
    auto model = Model::Load(folder);
    EXPECT_TRUE(model.ok()) << model.error().message;
    const auto first = (*model)->Fingerprint();
    EXPECT_EQ((*model)->Fingerprint(), first);
    return first;
  }

  // A copy of the golden model llama_tied, to be changed.
  FingerprintTest() {
    for (const char* name : {"config.json", "model.safetensors"}) {
      folder_.Write(name, ReadBytes(source_ / name));
    }
  }

  const std::filesystem::path source_ = GoldenData() / "llama_tied";
  TemporaryFolder folder_;
};

TEST_F(FingerprintTest, IsThatOfTheContentNotOfTheFolder) {
  EXPECT_EQ(Of(folder_.path()), Of(source_));
  EXPECT_NE(Of(source_), Of(GoldenData() / "llama_llama3_rope"));
}

TEST_F(FingerprintTest, ChangesWithOneBitOfTheWeights) {
  std::string bytes = ReadBytes(folder_.path() / "model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  folder_.Write("model.safetensors", bytes);
  EXPECT_NE(Of(folder_.path()), Of(source_));
}

TEST_F(FingerprintTest, ChangesWithTheArithmeticOnly) {
  std::string config = ReadBytes(folder_.path() / "config.json");
  const auto replace = [&](const std::string& from, const std::string& to) {
    ASSERT_NE(config.find(from), std::string::npos) << from;
    config.replace(config.find(from), from.size(), to);
    folder_.Write("config.json", config);
  };
  replace("\"max_position_embeddings\": 4096", "\"max_position_embeddings\": 8192");
  EXPECT_EQ(Of(folder_.path()), Of(source_));
  replace("\"rope_theta\": 10000.0", "\"rope_theta\": 10001.0");
  EXPECT_NE(Of(folder_.path()), Of(source_));
}

TEST_F(FingerprintTest, OfIntegersChangesWithWhatTheyMeet) {
  const auto of = [&](WeightType type) { return (*Model::Load(source_, {.type = type}))->Fingerprint(); };
  const Isa isa = CurrentIsa();
  const bool rounds = IntegersMeetIntegers();
  const auto integers = of(WeightType::kInt8);
  const auto stored = of(WeightType::kStored);
  ForceIsa(Isa::kScalar);
  EXPECT_EQ(of(WeightType::kInt8) != integers, rounds);
  EXPECT_EQ(of(WeightType::kStored), stored);
  ForceIsa(isa);
}

}  // namespace
}  // namespace esa
