// The reader of weights, mostly with files that are not what they should be.
#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "model/test_data.h"
#include "model/weights.h"

namespace esa {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string WithHeader(const std::string& header, const std::string& data) {
  const std::uint64_t size = header.size();
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes + header + data;
}

json Describe(const char* dtype, std::vector<std::int64_t> shape, std::int64_t begin,
              std::int64_t end) {
  return {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, end}}};
}

std::string Floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// Two tensors: a F32 [2, 3] = 1 .. 6, b BF16 [2] = 1, -2.
json Header() {
  return {{"__metadata__", {{"format", "pt"}}},
          {"a", Describe("F32", {2, 3}, 0, 24)},
          {"b", Describe("BF16", {2}, 24, 28)}};
}

std::string Data() { return Floats({1, 2, 3, 4, 5, 6}) + std::string("\x80\x3f\x00\xc0", 4); }

class SafetensorsTest : public testing::Test {
 protected:
  Result<SafetensorsFile> Open(const std::string& bytes) {
    return SafetensorsFile::Open(folder_.Write("model.safetensors", bytes));
  }

  // The message of an expected failure; it must be one line that names the file.
  std::string Failure(const std::string& bytes) {
    const auto file = Open(bytes);
    if (file.ok()) return "no error";
    const std::string& message = file.error().message;
    EXPECT_NE(message.find("model.safetensors: "), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 600u);
    return message;
  }
  std::string Failure(const json& header, const std::string& data = Data()) {
    return Failure(WithHeader(header.dump(), data));
  }

  Result<Weights> OpenWeights(const WeightConfig& config = {}) {
    return Weights::Open(folder_.path(), config);
  }

  TemporaryFolder folder_;
};

TEST_F(SafetensorsTest, ReadsTensorsInTheirPlaces) {
  const auto file = Open(WithHeader(Header().dump() + "   ", Data()));
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 2u);
  const TensorView& a = file->tensors().at("a");
  EXPECT_EQ(a.dtype, "F32");
  EXPECT_EQ(a.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(a.bytes.data(), Data().data(), 24), 0);
  EXPECT_EQ(file->tensors().at("b").bytes.size(), 4u);
}

TEST_F(SafetensorsTest, EmptyTensorsAndScalarsAreTensors) {
  const json header = {{"scalar", Describe("F32", {}, 0, 4)},
                       {"empty", Describe("F32", {0, 8}, 0, 0)},
                       {"last", Describe("I64", {0}, 4, 4)}};
  const auto file = Open(WithHeader(header.dump(), Floats({1})));
  EXPECT_TRUE(file.ok()) << file.error().message;
  EXPECT_TRUE(Open(WithHeader("{}", "")).ok());
}

TEST_F(SafetensorsTest, TruncatedAnywhereIsAnErrorThatNamesTheFile) {
  const std::string whole = WithHeader(Header().dump(), Data());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(Failure(whole.substr(0, size)), "no error") << size;
  }
  EXPECT_THAT(Failure(whole.substr(0, whole.size() - 1)),
              HasSubstr("tensor \"b\": ends at byte 28 of the data, the file has 27 (truncated?)"));
  EXPECT_THAT(Failure(whole + "x"), HasSubstr("found 29 bytes of data, expected 28"));
}

TEST_F(SafetensorsTest, AnyBrokenByteOfTheHeaderIsSurvived) {
  const std::string whole = WithHeader(Header().dump(), Data());
  std::mt19937 random(1);
  for (std::size_t at = 0; at + Data().size() < whole.size(); ++at) {
    for (int change = 0; change < 2; ++change) {
      std::string broken = whole;
      broken[at] = static_cast<char>(random());
      Failure(broken);
    }
  }
}

TEST_F(SafetensorsTest, HeaderLengthsAreCheckedBeforeTheyAreBelieved) {
  for (const std::uint64_t length :
       {std::uint64_t{99'999'999}, std::uint64_t{100'000'001}, ~std::uint64_t{0}}) {
    std::string bytes(sizeof(length), '\0');
    std::memcpy(bytes.data(), &length, sizeof(length));
    EXPECT_THAT(Failure(bytes + "{}"), HasSubstr("header")) << length;
  }
}

TEST_F(SafetensorsTest, HeadersThatAreNoObjectAreRefused) {
  for (const std::string text : {"", "[]", " {}", "{", "{}}", "{\"a\":}", "{\"\xff\":1}"}) {
    EXPECT_THAT(Failure(WithHeader(text, "")), HasSubstr("the header")) << text;
  }
  const std::string deep(1 << 20, '[');
  Failure(WithHeader("{\"a\":" + deep, ""));
  EXPECT_THAT(Failure(WithHeader("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,0],\"shape\":" +
                                     deep + std::string(1 << 20, ']') + "}}",
                                 "")),
              HasSubstr("tensor \"a\": shape: found another list"));
}

TEST_F(SafetensorsTest, NamesGivenTwiceAreRefused) {
  EXPECT_THAT(Failure(WithHeader(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                 R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                                 "x")),
              HasSubstr("tensor \"a\": described twice"));
}

TEST_F(SafetensorsTest, WrongDescriptionsNameTensorAndField) {
  const auto with = [&](const char* field, const json& value) {
    json header = Header();
    header["b"][field] = value;
    return Failure(header);
  };
  EXPECT_THAT(with("dtype", "F33"), HasSubstr("tensor \"b\": dtype: found \"F33\""));
  EXPECT_THAT(with("dtype", 3), HasSubstr("tensor \"b\": dtype: found 3"));
  EXPECT_THAT(with("dtype", "F32"),
              HasSubstr("tensor \"b\": found 4 bytes, expected those of F32"));
  EXPECT_THAT(with("shape", 2), HasSubstr("tensor \"b\": shape: found 2"));
  EXPECT_THAT(with("shape", {-2}), HasSubstr("tensor \"b\": shape"));
  EXPECT_THAT(with("shape", {2.0}), HasSubstr("tensor \"b\": shape"));
  EXPECT_THAT(with("shape", {3}), HasSubstr("expected those of BF16 [3]"));
  EXPECT_THAT(with("shape", {1ull << 62, 1ull << 62}), HasSubstr("found 4 bytes"));
  EXPECT_THAT(with("data_offsets", {28, 24}), HasSubstr("tensor \"b\": data_offsets"));
  EXPECT_THAT(with("data_offsets", {24}), HasSubstr("tensor \"b\": data_offsets"));
  EXPECT_THAT(with("data_offsets", {24, 1ull << 63}), HasSubstr("tensor \"b\": data_offsets"));
  EXPECT_THAT(with("data_offsets", {1ull << 62, (1ull << 62) + 4}), HasSubstr("truncated"));
  EXPECT_THAT(with("data_offsets", {20, 24}), HasSubstr("overlap"));
  json header = Header();
  header["b"] = 1;
  EXPECT_THAT(Failure(header), HasSubstr("tensor \"b\": expected an object"));
}

TEST_F(SafetensorsTest, HolesAreRefused) {
  json header = Header();
  header["b"] = Describe("BF16", {2}, 26, 30);
  EXPECT_THAT(Failure(header, Data() + "xx"), HasSubstr("tensor \"b\": begins at byte 26"));
}

TEST_F(SafetensorsTest, WeightsAreCheckedAgainstWhatIsExpected) {
  folder_.Write("model.safetensors", WithHeader(Header().dump(), Data()));
  auto weights = OpenWeights();
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_EQ(weights->memory_bytes(), 0u);
  EXPECT_TRUE(weights->Matrix("a", 2, 3).ok());
  EXPECT_EQ(weights->memory_bytes(), 24u);
  EXPECT_EQ(*weights->Vector("b", 2), (std::vector<float>{1, -2}));
  EXPECT_EQ(weights->memory_bytes(), 24u + 2 * sizeof(float));
  EXPECT_THAT(weights->Matrix("a", 3, 2).error().message,
              HasSubstr("model.safetensors: tensor \"a\": shape: found [2, 3], expected [3, 2]"));
  EXPECT_THAT(weights->Vector("a", 6).error().message, HasSubstr("expected [6]"));
  EXPECT_THAT(weights->Vector("c", 6).error().message,
              HasSubstr("tensor \"c\": missing, expected one of shape [6]"));
}

TEST_F(SafetensorsTest, OtherTypesAreRefusedWhenTheyAreUsed) {
  const json header = {{"ids", Describe("I64", {1}, 0, 8)}};
  folder_.Write("model.safetensors", WithHeader(header.dump(), std::string(8, '\0')));
  auto weights = OpenWeights();
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_THAT(weights->Vector("ids", 1).error().message,
              HasSubstr("tensor \"ids\": dtype: found I64, expected F32, F16 or BF16"));
}

// Copied to memory, or left in the file where it is aligned there.
TEST_F(SafetensorsTest, MatricesAreAlignedWhereverTheyLie) {
  for (int i = 0; i < 8; ++i) {
    const int padding = i / 2;
    const std::string header =
        Header().dump() + std::string(static_cast<std::size_t>(padding), ' ');
    folder_.Write("model.safetensors", WithHeader(header, Data()));
    auto weights = OpenWeights({.map = i % 2 == 1});
    const auto a = weights->Matrix("a", 2, 3);
    ASSERT_TRUE(a.ok()) << a.error().message;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a->data) % alignof(float), 0u);
    EXPECT_EQ(static_cast<const float*>(a->data)[5], 6.0f);
  }
}

TEST_F(SafetensorsTest, IntegersAreMadeOnLoad) {
  folder_.Write("model.safetensors", WithHeader(Header().dump(), Data()));
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    auto weights = OpenWeights({.type = type});
    const auto a = weights->Matrix("a", 2, 3);
    ASSERT_TRUE(a.ok()) << a.error().message;
    EXPECT_EQ(a->dtype, type == WeightType::kInt8 ? DType::kInt8 : DType::kInt4);
    EXPECT_EQ(weights->EndMatrix("a", 2, 3)->dtype, DType::kInt8);
    std::vector<float> row(3);
    CopyRow(*a, 1, row.data());  // of 4, 5, 6
    for (std::size_t k = 0; k < 3; ++k) {
      EXPECT_NEAR(row[k], 4.0f + static_cast<float>(k), type == WeightType::kInt8 ? 0.03 : 0.4);
    }
  }
}

class ShardsTest : public SafetensorsTest {
 protected:
  ShardsTest() {
    Shard("one.safetensors", "a");
    Shard("two.safetensors", "b");
  }

  void Shard(const char* file, const char* tensor) {
    const json header = {{tensor, Describe("F32", {1}, 0, 4)}};
    folder_.Write(file, WithHeader(header.dump(), Floats({1})));
  }

  std::string FailureOf(const std::string& index) {
    folder_.Write("model.safetensors.index.json", index);
    const auto weights = OpenWeights();
    return weights.ok() ? "no error" : weights.error().message;
  }
};

TEST_F(ShardsTest, AreReadAsOne) {
  EXPECT_EQ(FailureOf(R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})"),
            "no error");
  auto weights = OpenWeights();
  EXPECT_TRUE(weights->Vector("a", 1).ok());
  EXPECT_TRUE(weights->Vector("b", 1).ok());
}

TEST_F(ShardsTest, WrongIndexesAreNamed) {
  EXPECT_THAT(FailureOf("{"), HasSubstr("index.json: not a JSON object"));
  EXPECT_THAT(FailureOf("{}"), HasSubstr("index.json: weight_map"));
  EXPECT_THAT(FailureOf(R"({"weight_map": {"a": 1}})"), HasSubstr("tensor \"a\": weight_map"));
  EXPECT_THAT(FailureOf(R"({"weight_map": {"a": "../x/one.safetensors"}})"),
              HasSubstr("expected the name of a file beside it"));
  EXPECT_THAT(FailureOf(R"({"weight_map": {"a": ".."}})"), HasSubstr("beside it"));
  EXPECT_THAT(FailureOf(R"({"weight_map": {"a": "three.safetensors"}})"),
              HasSubstr("three.safetensors: cannot open"));
  EXPECT_THAT(FailureOf(R"({"weight_map": {"a": "two.safetensors"}})"),
              HasSubstr("two.safetensors: tensor \"a\": missing, but the index says it is here"));
}

TEST_F(SafetensorsTest, FoldersWithoutWeightsSaySo) {
  EXPECT_THAT(OpenWeights().error().message, HasSubstr("found no weights"));
  EXPECT_EQ(OpenWeights().error().code, ErrorCode::kNotFound);
  std::filesystem::create_directory(folder_.path() / "model.safetensors");
  EXPECT_THAT(OpenWeights().error().message, HasSubstr("not a regular file"));
}

TEST(SafetensorsSamplesTest, PublishedFilesAreRead) {
  const auto folder = SharedData() / "formats/samples";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const auto file = SafetensorsFile::Open(entry.path());
    EXPECT_TRUE(file.ok()) << file.error().message;
  }
}

}  // namespace
}  // namespace esa
