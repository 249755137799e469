#include "esa/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ConfigFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "esa-config-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Status Read(const std::string& name, const std::string& text) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path) << text;
    return ReadConfigFile(path, &config_);
  }
  std::string ErrorOf(const std::string& name, const std::string& text) {
    const Status status = Read(name, text);
    return status.ok() ? "" : status.error().message;
  }

  std::string folder_;
  EngineConfig config_;
};

TEST_F(ConfigFile, NativeFieldsOfJson) {
  const Status status = Read("c.json", R"({
    "model": "m", "kv_memory": "512MiB", "block_tokens": 32, "kv_dtype": "f32",
    "prefill": {"attention": "sparse", "ratio": 0.5}, "pin_threads": true,
    "prefill_chunk_tokens": 256, "threads": 2, "retrieval_threads": 3, "tenant": "t",
    "sparse": {"name": "ESA", "options": {"sparse_ratio": 0.1}},
    "plugins": ["./libmine.so", "/b.so"],
    "audit": {"every": 4, "threshold": 0.25, "action": "widen"},
    "store": {"backend": "memory", "storage_backends": ["/a", "/b"], "capacity": "2GB",
              "io_direct": true, "io_threads": 8, "timeout_ms": 10}})");
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(config_.model_dir, "m");
  EXPECT_EQ(config_.kv_memory_bytes, 512u << 20);
  EXPECT_EQ(config_.block_tokens, 32);
  EXPECT_EQ(config_.kv_dtype, KvDtype::kF32);
  EXPECT_EQ(config_.prefill.attention, PrefillAttention::kSparse);
  EXPECT_EQ(config_.prefill.ratio, 0.5);
  EXPECT_TRUE(config_.pin_threads);
  EXPECT_EQ(config_.prefill_chunk_tokens, 256);
  EXPECT_EQ(config_.threads, 2);
  EXPECT_EQ(config_.retrieval_threads, 3);
  EXPECT_EQ(config_.tenant, "t");
  EXPECT_EQ(std::get<double>(config_.sparse.options.at("sparse_ratio")), 0.1);
  EXPECT_THAT(config_.plugins, ElementsAre("./libmine.so", "/b.so"));
  EXPECT_EQ(config_.audit.every, 4);
  EXPECT_EQ(config_.audit.threshold, 0.25);
  EXPECT_EQ(config_.audit.action, AuditAction::kWiden);
  EXPECT_EQ(config_.store.backend, "memory");
  EXPECT_THAT(config_.store.storage_backends, ElementsAre("/a", "/b"));
  EXPECT_EQ(config_.store.capacity_bytes, 2'000'000'000u);
  EXPECT_TRUE(config_.store.io_direct);
  EXPECT_EQ(config_.store.io_threads, 8);
  EXPECT_EQ(config_.store.timeout_ms, 10);
}

TEST_F(ConfigFile, WhatUcmUsersWriteInYaml) {
  const Status status = Read("ucm.yaml", R"(
ucm_connectors:
  - ucm_connector_name: "UcmNfsStore"
    ucm_connector_config:
      storage_backends: "/mnt/a:/mnt/b"
      io_direct: false
      kv_block_size: 33554432
      posix_capacity_gb: 2
      timeout_ms: 5000
load_only_first_rank: false
ucm_sparse_config:
  ESA:
    init_window_sz: 1
    sparse_ratio: 0.3
)");
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(config_.store.backend, "posix");
  EXPECT_THAT(config_.store.storage_backends, ElementsAre("/mnt/a", "/mnt/b"));
  EXPECT_EQ(config_.store.capacity_bytes, 2ull << 30);
  EXPECT_EQ(config_.store.timeout_ms, 5000);
  EXPECT_EQ(config_.sparse.name, "ESA");
  EXPECT_EQ(std::get<std::int64_t>(config_.sparse.options.at("init_window_sz")), 1);
  EXPECT_EQ(std::get<double>(config_.sparse.options.at("sparse_ratio")), 0.3);
}

TEST_F(ConfigFile, UcmInsideTheTransferConfigOfVllm) {
  const Status status = Read("kv.json", R"({"kv_transfer_config": {
    "kv_connector": "UCMConnector", "kv_role": "kv_both",
    "kv_connector_extra_config": {
      "ucm_connector_name": "UcmPipelineStore",
      "ucm_connector_config": {"store_pipeline": "Memory", "cache_buffer_capacity_gb": 1.5},
      "ucm_sparse_config": {"ESA": {"retrieval_stride": 10}}}}})");
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(config_.store.backend, "memory");
  EXPECT_EQ(config_.store.capacity_bytes, 3ull << 29);
  EXPECT_EQ(std::get<std::int64_t>(config_.sparse.options.at("retrieval_stride")), 10);
}

TEST_F(ConfigFile, PipelineNames) {
  const auto backend = [&](const std::string& pipeline) {
    const std::string error = ErrorOf("p.json", R"({"ucm_connector_name": "UcmPipelineStore",
      "ucm_connector_config": {"store_pipeline": ")" +
                                                    pipeline + "\"}}");
    return error.empty() ? config_.store.backend : error;
  };
  EXPECT_EQ(backend("Posix"), "posix");
  EXPECT_EQ(backend("Cache|Posix"), "memory|posix");
  EXPECT_EQ(backend("Memory|Redis"), "memory|redis");
  EXPECT_EQ(backend("Memory"), "memory");
  EXPECT_THAT(backend("Tape"), HasSubstr("store_pipeline: found \"Tape\", expected"));
}

TEST_F(ConfigFile, UnknownKeysAreNamedAtEveryLevel) {
  EXPECT_THAT(ErrorOf("a.yaml", "modle: x\n"),
              AllOf(HasSubstr("a.yaml: unknown key \"modle\""), HasSubstr("model")));
  EXPECT_THAT(ErrorOf("a.yaml", "store:\n  backnd: posix\n"),
              AllOf(HasSubstr("a.yaml: store: unknown key \"backnd\""), HasSubstr("backend")));
  EXPECT_THAT(ErrorOf("a.json", R"({"ucm_connector_config": {"storage": "/x"}})"),
              AllOf(HasSubstr("a.json: ucm_connector_config: unknown key \"storage\""),
                    HasSubstr("storage_backends")));
  EXPECT_THAT(ErrorOf("a.json", R"({"ucm_connectors": [{"name": "x"}]})"),
              HasSubstr("ucm_connectors[0]: unknown key \"name\""));
  EXPECT_THAT(ErrorOf("a.json", R"({"kv_connector_extra_config": {"x": 1}})"),
              HasSubstr("kv_connector_extra_config: unknown key \"x\""));
}

TEST_F(ConfigFile, WrongValuesSayWhatWasFoundAndExpected) {
  EXPECT_THAT(ErrorOf("a.yaml", "plugins: [libmine.so, 5]\n"),
              HasSubstr("a.yaml: plugins: found [\"libmine.so\",5], expected a list of texts"));
  EXPECT_THAT(ErrorOf("a.yaml", "block_tokens: many\n"),
              HasSubstr("block_tokens: found \"many\", expected a whole number from 2 to 4096"));
  EXPECT_THAT(ErrorOf("a.yaml", "kv_memory: 3 parsecs\n"), HasSubstr("kv_memory: size: found"));
  EXPECT_THAT(ErrorOf("a.yaml", "kv_dtype: fp8\n"), HasSubstr("expected bf16 or f32 or int8"));
  EXPECT_THAT(ErrorOf("a.yaml", "store: posix\n"), HasSubstr("store: found \"posix\", expected"));
  EXPECT_THAT(ErrorOf("a.json", R"({"ucm_connector_name": "UcmTape"})"),
              HasSubstr("found \"UcmTape\", expected UcmNfsStore or UcmPipelineStore"));
  EXPECT_THAT(ErrorOf("a.json", R"({"ucm_sparse_config": {"ESA": {}, "dense": {}}})"),
              HasSubstr("found 2 algorithms, expected one"));
}

TEST_F(ConfigFile, MalformedFilesNameTheLine) {
  EXPECT_THAT(ErrorOf("a.json", "{\n \"model\": \n}"),
              AllOf(HasSubstr("a.json: not JSON"), HasSubstr("line 3")));
  EXPECT_THAT(ErrorOf("a.yaml", "model: x\n  - y: [\n"), HasSubstr("a.yaml:2: not YAML"));
  EXPECT_THAT(ErrorOf("a.yaml", "model: x\nmodel: y\n"), HasSubstr("a.yaml:2: not YAML: key"));
  EXPECT_THAT(ErrorOf("a.yaml", "- 1\n"), HasSubstr("expected keys and values"));
  EXPECT_THAT(ErrorOf("a.toml", ""), HasSubstr("ends in .json, .yaml or .yml"));
  const Status missing = ReadConfigFile(folder_ + "/none.yaml", &config_);
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().message, HasSubstr("none.yaml: cannot be read: No such file"));
}

TEST_F(ConfigFile, AnErrorLeavesTheConfigurationAsItWas) {
  EXPECT_NE(ErrorOf("a.yaml", "model: x\nzzz: 1\n"), "");
  EXPECT_EQ(config_.model_dir, "");
}

TEST_F(ConfigFile, AnotherAlgorithmForgetsTheOptionsOfTheFormer) {
  config_.sparse = {.name = "ESA", .options = {{"sparse_ratio", 0.2}}};
  ASSERT_TRUE(Read("a.yaml", "sparse: {name: streaming}\n").ok());
  EXPECT_EQ(config_.sparse.name, "streaming");
  EXPECT_TRUE(config_.sparse.options.empty());
}

class Environment : public ::testing::Test {
 protected:
  void TearDown() override {
    for (const char* name : {"ENABLE_SPARSE", "MODEL_PATH", "DATA_DIR"}) unsetenv(name);
  }
};

TEST_F(Environment, IsReadOverWhatIsThere) {
  EngineConfig config;
  config.model_dir = "from file";
  ASSERT_TRUE(ReadEnvironment(&config).ok());
  EXPECT_EQ(config.model_dir, "from file");
  EXPECT_EQ(config.sparse.name, "ESA");
  setenv("ENABLE_SPARSE", "False", 1);
  setenv("MODEL_PATH", "/models/m", 1);
  setenv("DATA_DIR", "/data/kv", 1);
  ASSERT_TRUE(ReadEnvironment(&config).ok());
  EXPECT_EQ(config.sparse.name, "dense");
  EXPECT_EQ(config.model_dir, "/models/m");
  EXPECT_THAT(config.store.storage_backends, ElementsAre("/data/kv"));
}

TEST_F(Environment, RefusesAnUnclearSwitch) {
  setenv("ENABLE_SPARSE", "maybe", 1);
  EngineConfig config;
  const Status status = ReadEnvironment(&config);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message,
              StartsWith("environment: ENABLE_SPARSE: found \"maybe\", expected true"));
}

TEST(ParseBytes, UnitsAndFractions) {
  EXPECT_EQ(*ParseBytes("4096"), 4096u);
  EXPECT_EQ(*ParseBytes("512MiB"), 512u << 20);
  EXPECT_EQ(*ParseBytes("2 GB"), 2'000'000'000u);
  EXPECT_EQ(*ParseBytes("1.5GiB"), 3ull << 29);
  EXPECT_EQ(*ParseBytes(" 3 kb "), 3000u);
  EXPECT_EQ(*ParseBytes("0"), 0u);
}

TEST(ParseBytes, RefusesTheRest) {
  for (const char* text : {"", "GB", "-1", "1e9", "1.2.3GB", "5 parsecs", "1.5", "4G", ".5GB",
                           "99999999TiB", "0x10", "1 2MB"}) {
    const auto bytes = ParseBytes(text);
    ASSERT_FALSE(bytes.ok()) << text;
    EXPECT_THAT(bytes.error().message,
                AllOf(HasSubstr(std::string("\"") + text + "\""), HasSubstr("MiB")));
  }
}

}  // namespace
}  // namespace esa
