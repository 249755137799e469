#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/model.h"
#include "model/test_data.h"

namespace esa {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json Llama() {
  return {{"model_type", "llama"},    {"vocab_size", 100},
          {"hidden_size", 64},        {"intermediate_size", 96},
          {"num_hidden_layers", 2},   {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"max_position_embeddings", 512},
          {"hidden_act", "silu"},     {"eos_token_id", 7}};
}

json Llama3Scaling() {
  return {{"rope_type", "llama3"},
          {"factor", 8.0},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4.0},
          {"original_max_position_embeddings", 8192}};
}

Result<ModelConfig> Read(const json& config, const std::string& generation = "") {
  TemporaryFolder folder;
  folder.Write("config.json", config.dump());
  if (!generation.empty()) folder.Write("generation_config.json", generation);
  return ReadModelConfig(folder.path());
}

Result<ModelConfig> ReadText(const std::string& text) {
  TemporaryFolder folder;
  folder.Write("config.json", text);
  return ReadModelConfig(folder.path());
}

// The message of an expected failure; it must be one line that names the file.
std::string Failure(const Result<ModelConfig>& config) {
  if (config.ok()) return "no error";
  const std::string& message = config.error().message;
  EXPECT_NE(message.find(".json"), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_LT(message.size(), 400u);
  return message;
}

std::string FailureWith(const char* field, json value) {
  json config = Llama();
  config[field] = std::move(value);
  return Failure(Read(config));
}

TEST(ConfigTest, ReadsFieldsAndDerivesWhatIsAbsent) {
  const auto config = Read(Llama());
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->architecture, "llama");
  EXPECT_EQ(config->vocab_size, 100);
  EXPECT_EQ(config->hidden_size, 64);
  EXPECT_EQ(config->intermediate_size, 96);
  EXPECT_EQ(config->num_layers, 2);
  EXPECT_EQ(config->num_heads, 4);
  EXPECT_EQ(config->num_kv_heads, 2);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->max_position, 512);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_EQ(config->rope_scaling.factor, 1.0);
  EXPECT_FLOAT_EQ(config->rms_norm_eps, 1e-6f);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_FALSE(config->attention_bias);
  EXPECT_EQ(config->eos_ids, std::vector<std::int32_t>{7});
}

TEST(ConfigTest, HeadDimIsTheFilesOwnWhereGiven) {
  json config = Llama();
  config["head_dim"] = 128;
  EXPECT_EQ(Read(config)->head_dim, 128);
  config["head_dim"] = nullptr;
  EXPECT_EQ(Read(config)->head_dim, 16);
  config.erase("head_dim");
  config["model_type"] = "qwen3";
  EXPECT_EQ(Read(config)->head_dim, 128);  // transformers' default for this architecture
}

TEST(ConfigTest, WithoutKvHeadsEveryHeadIsOne) {
  json config = Llama();
  config.erase("num_key_value_heads");
  EXPECT_EQ(Read(config)->num_kv_heads, 4);
}

TEST(ConfigTest, EosIdsOfBothFilesTogether) {
  json config = Llama();
  EXPECT_EQ(Read(config, R"({"eos_token_id": [9, 7]})")->eos_ids,
            (std::vector<std::int32_t>{7, 9}));
  config["eos_token_id"] = {3, 4};
  EXPECT_EQ(Read(config, R"({"eos_token_id": 5})")->eos_ids, (std::vector<std::int32_t>{3, 4, 5}));
  config.erase("eos_token_id");
  EXPECT_TRUE(Read(config, "{}")->eos_ids.empty());
  EXPECT_THAT(Failure(Read(config, "[1]")), HasSubstr("generation_config.json"));
  EXPECT_THAT(Failure(Read(config, R"({"eos_token_id": [1, "x"]})")), HasSubstr("eos_token_id"));
  EXPECT_THAT(FailureWith("eos_token_id", -1), HasSubstr("eos_token_id: found -1"));
}

TEST(ConfigTest, RopeOfOlderAndNewerFiles) {
  json older = Llama();
  older["rope_theta"] = 500000;
  older["rope_scaling"] = Llama3Scaling();
  json newer = Llama();
  newer["rope_parameters"] = Llama3Scaling();
  newer["rope_parameters"]["rope_theta"] = 500000.0;
  json legacy = older;
  legacy["rope_scaling"].erase("rope_type");
  legacy["rope_scaling"]["type"] = "llama3";
  for (const json& config : {older, newer, legacy}) {
    const auto read = Read(config);
    ASSERT_TRUE(read.ok()) << read.error().message;
    EXPECT_EQ(read->rope_theta, 500000.0);
    EXPECT_EQ(read->rope_scaling.factor, 8.0);
    EXPECT_EQ(read->rope_scaling.low_freq_factor, 1.0);
    EXPECT_EQ(read->rope_scaling.high_freq_factor, 4.0);
    EXPECT_EQ(read->rope_scaling.original_max_position, 8192.0);
  }
}

TEST(ConfigTest, DefaultRopeIsNoScaling) {
  json config = Llama();
  config["rope_scaling"] = {{"rope_type", "default"}};
  EXPECT_EQ(Read(config)->rope_scaling.factor, 1.0);
  config["rope_scaling"] = nullptr;
  config["rope_parameters"] = {{"rope_theta", 2e6}};
  EXPECT_EQ(Read(config)->rope_scaling.factor, 1.0);
  EXPECT_EQ(Read(config)->rope_theta, 2e6);
}

TEST(ConfigTest, WrongRopeIsNamed) {
  EXPECT_THAT(FailureWith("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}),
              HasSubstr("rope_scaling.rope_type: found \"yarn\", expected"));
  EXPECT_THAT(FailureWith("rope_scaling", {{"type", "linear"}}), HasSubstr("rope_scaling.type"));
  EXPECT_THAT(FailureWith("rope_scaling", {{"factor", 2.0}}), HasSubstr("found nothing"));
  EXPECT_THAT(FailureWith("rope_scaling", 3), HasSubstr("rope_scaling: found 3"));
  EXPECT_THAT(FailureWith("rope_theta", 0), HasSubstr("rope_theta: found 0"));
  for (const char* field : {"factor", "low_freq_factor", "original_max_position_embeddings"}) {
    json scaling = Llama3Scaling();
    scaling.erase(field);
    EXPECT_THAT(FailureWith("rope_scaling", scaling),
                HasSubstr("rope_scaling." + std::string(field) + ": found nothing"));
  }
  json scaling = Llama3Scaling();
  scaling["high_freq_factor"] = 1.0;
  EXPECT_THAT(FailureWith("rope_scaling", scaling), HasSubstr("high_freq_factor: found 1"));
}

TEST(ConfigTest, EveryRequiredFieldIsNamedWhenAbsentOrWrong) {
  for (const char* field :
       {"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "max_position_embeddings"}) {
    json config = Llama();
    config.erase(field);
    EXPECT_THAT(Failure(Read(config)), HasSubstr(std::string(field) + ": found nothing"));
    for (const json& wrong : {json(0), json(-4), json(1.5), json("64"), json(true),
                              json(1ull << 60), json::array({64}), json::object()}) {
      EXPECT_THAT(FailureWith(field, wrong), HasSubstr(std::string(field) + ": found "));
    }
  }
}

TEST(ConfigTest, ShapesThatDoNotFitAreNamed) {
  EXPECT_THAT(FailureWith("num_key_value_heads", 3), HasSubstr("num_key_value_heads: found 3"));
  EXPECT_THAT(FailureWith("head_dim", 15), HasSubstr("head_dim: found 15, expected an even"));
  EXPECT_THAT(FailureWith("hidden_size", 66), HasSubstr("head_dim: found nothing"));
  EXPECT_THAT(FailureWith("hidden_size", 60), HasSubstr("head_dim: found 15"));
  EXPECT_THAT(FailureWith("rms_norm_eps", -1e-6), HasSubstr("rms_norm_eps"));
}

TEST(ConfigTest, ComputationsThatAreNotHereAreRefused) {
  const auto code = [](const char* field, const json& value) {
    json config = Llama();
    config[field] = value;
    const auto read = Read(config);
    EXPECT_THAT(Failure(read), HasSubstr(field));
    return read.ok() ? ErrorCode::kInvalidArgument : read.error().code;
  };
  EXPECT_EQ(code("model_type", "mamba"), ErrorCode::kUnsupported);
  EXPECT_EQ(code("hidden_act", "gelu"), ErrorCode::kUnsupported);
  EXPECT_EQ(code("use_sliding_window", true), ErrorCode::kUnsupported);
  EXPECT_EQ(code("mlp_bias", true), ErrorCode::kUnsupported);
  EXPECT_EQ(code("partial_rotary_factor", 0.5), ErrorCode::kUnsupported);
  EXPECT_EQ(code("quantization_config", {{"bits", 4}}), ErrorCode::kUnsupported);
  EXPECT_EQ(code("layer_types", {"full_attention", "sliding_attention"}), ErrorCode::kUnsupported);

  json config = Llama();
  config["sliding_window"] = 4096;
  config["use_sliding_window"] = false;
  config["layer_types"] = {"full_attention", "full_attention"};
  EXPECT_TRUE(Read(config).ok());
}

TEST(ConfigTest, WhatIsNoJsonObjectIsRefused) {
  for (const std::string text : {"", "{", "[]", "null", "{\"vocab_size\": }", "\xff\xfe"}) {
    EXPECT_THAT(Failure(ReadText(text)), HasSubstr("expected a JSON object")) << text;
  }
  const std::string deep(1 << 20, '[');
  EXPECT_THAT(Failure(ReadText(deep)), HasSubstr("expected a JSON object"));
  const std::string closed = "{\"vocab_size\": " + deep + std::string(1 << 20, ']') + "}";
  EXPECT_THAT(Failure(ReadText(closed)), HasSubstr("model_type"));
}

TEST(ConfigTest, AnAbsentFileIsNotFound) {
  TemporaryFolder folder;
  const auto config = ReadModelConfig(folder.path());
  EXPECT_THAT(Failure(config), HasSubstr("no such file"));
  EXPECT_EQ(config.error().code, ErrorCode::kNotFound);
}

TEST(ConfigTest, LongAndStrangeValuesStayOneShortLine) {
  EXPECT_THAT(FailureWith("model_type", std::string(100000, 'x')), HasSubstr("xxx\"..."));
  EXPECT_THAT(FailureWith("model_type", "a\nb\"c"), HasSubstr("a\\x0ab\\\"c"));
}

struct Published {
  const char* name;
  const char* architecture;
  int layers, heads, kv_heads, head_dim;
  std::size_t eos_ids;
};

TEST(ConfigTest, ReadsPublishedConfigurations) {
  const auto folder = SharedData() / "configs";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  constexpr Published kPublished[] = {
      {"Llama-3.1-8B-Instruct", "llama", 32, 32, 8, 128, 3},
      {"Llama-3.2-1B-Instruct", "llama", 16, 32, 8, 64, 3},
      {"Qwen2.5-0.5B-Instruct", "qwen2", 24, 14, 2, 64, 2},
      {"Qwen2.5-14B-Instruct", "qwen2", 48, 40, 8, 128, 1},
      {"Qwen2.5-7B-Instruct", "qwen2", 28, 28, 4, 128, 2},
      {"Qwen3-0.6B", "qwen3", 28, 16, 8, 128, 1},
      {"Qwen3-8B", "qwen3", 36, 32, 8, 128, 2},
  };
  for (const Published& expected : kPublished) {
    const auto config = ReadModelConfig(folder / expected.name);
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->architecture, expected.architecture) << expected.name;
    EXPECT_EQ(config->num_layers, expected.layers) << expected.name;
    EXPECT_EQ(config->num_heads, expected.heads) << expected.name;
    EXPECT_EQ(config->num_kv_heads, expected.kv_heads) << expected.name;
    EXPECT_EQ(config->head_dim, expected.head_dim) << expected.name;
    EXPECT_EQ(config->eos_ids.size(), expected.eos_ids) << expected.name;
  }
  EXPECT_EQ(ReadModelConfig(folder / "Llama-3.2-1B-Instruct")->rope_scaling.factor, 32.0);
}

}  // namespace
}  // namespace esa
