// GGUF files: their parsing, their block formats against the gguf package, their vocabularies.
// Logits of whole models are compared in model_test.cc.
#include "model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "model/gguf_model.h"
#include "model/safetensors.h"
#include "model/test_data.h"
#include "model/tokenizer.h"
#include "model/weights.h"

namespace esa {
namespace {

using testing::HasSubstr;

std::filesystem::path Golden(const char* name) { return GoldenData() / "gguf" / name; }

TEST(GgmlBlocksTest, ValuesAreThoseOfTheGgufPackage) {
  const auto file = SafetensorsFile::Open(GoldenData() / "ggml_blocks.safetensors");
  ASSERT_TRUE(file.ok()) << file.error().message;
  for (const GgmlFormat& format : GgmlFormats()) {
    if (format.block_values == 1) continue;
    SCOPED_TRACE(format.name);
    const auto blocks = file->tensors().find(std::string(format.name) + ".bytes");
    const auto values = file->tensors().find(std::string(format.name) + ".values");
    ASSERT_NE(blocks, file->tensors().end());
    const std::size_t count = values->second.bytes.size() / sizeof(float);
    std::vector<float> expected(count);
    std::memcpy(expected.data(), values->second.bytes.data(), count * sizeof(float));
    ASSERT_EQ(blocks->second.bytes.size(), count / static_cast<std::size_t>(format.block_values) *
                                               static_cast<std::size_t>(format.block_bytes));
    std::vector<float> widened(count);
    format.widen(blocks->second.bytes.data(), static_cast<std::int64_t>(count), widened.data());
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_NEAR(widened[i], expected[i], 1e-6 * std::abs(expected[i]) + 1e-7) << i;
    }
  }
}

TEST(GgufTest, MetadataAndTensors) {
  const auto file = GgufFile::Open(Golden("llama_llama3_rope.gguf"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(*file->Text("general.architecture"), "llama");
  EXPECT_EQ(*file->Integer("llama.block_count"), 2u);
  EXPECT_EQ(*file->Integer("nothing", 7), 7u);
  EXPECT_THAT(file->Integer("nothing").error().message, HasSubstr("nothing: found nothing"));
  EXPECT_THAT(file->Text("llama.block_count").error().message,
              HasSubstr("llama.block_count: found another kind of value, expected a text"));
  const auto embedding = file->tensors().find("token_embd.weight");
  ASSERT_NE(embedding, file->tensors().end());
  EXPECT_EQ(embedding->second.shape, (std::vector<std::int64_t>{96, 64}));
}

TEST(GgufTest, ASplitModelIsOne) {
  const auto file = GgufFile::Open(Golden("split-00001-of-00002.gguf"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_TRUE(file->tensors().contains("token_embd.weight"));
  EXPECT_TRUE(file->tensors().contains("blk.1.ffn_down.weight"));
}

TEST(GgufTest, AMissingPartIsNamed) {
  const TemporaryFolder folder;
  const auto part =
      folder.Write("m-00001-of-00002.gguf", ReadBytes(Golden("split-00001-of-00002.gguf")));
  EXPECT_THAT(GgufFile::Open(part).error().message, HasSubstr("m-00002-of-00002.gguf"));
  const auto renamed = folder.Write("m.gguf", ReadBytes(Golden("split-00001-of-00002.gguf")));
  EXPECT_THAT(GgufFile::Open(renamed).error().message, HasSubstr("-00001-of-00002.gguf"));
}

TEST(GgufTest, WhatIsNoGgufIsSaid) {
  const TemporaryFolder folder;
  EXPECT_THAT(GgufFile::Open(folder.Write("a.gguf", "no")).error().message,
              HasSubstr("not a GGUF file"));
  EXPECT_THAT(
      GgufFile::Open(folder.Write("b.gguf", std::string("GGUF\1\0\0\0", 8))).error().message,
      HasSubstr("version: found 1"));
  EXPECT_EQ(GgufFile::Open(folder.path() / "none.gguf").error().code, ErrorCode::kNotFound);
}

// A file that ends anywhere, or has a byte changed anywhere in its header, is an error or a model;
// it is never read beyond its end.
TEST(GgufTest, DamagedFilesAreErrors) {
  const TemporaryFolder folder;
  const std::string whole = ReadBytes(Golden("qwen3_wide_heads.gguf"));
  constexpr std::size_t kHeader = 2600;
  for (std::size_t size = 0; size < kHeader; size += 7) {
    const auto path = folder.Write("cut.gguf", whole.substr(0, size));
    EXPECT_FALSE(GgufFile::Open(path).ok()) << size;
  }
  for (std::size_t at = 4; at < kHeader; at += 3) {
    for (const char change : {'\x01', '\x7f', '\xff'}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ change);
      const auto path = folder.Write("changed.gguf", changed);
      const auto file = GgufFile::Open(path);
      if (!file) continue;
      if (const auto config = ReadGgufConfig(*file); config) (void)Model::Load(path);
    }
  }
}

TEST(GgufTest, UnknownArchitecturesAreNamed) {
  const TemporaryFolder folder;
  std::string bytes = ReadBytes(Golden("llama_llama3_rope.gguf"));
  bytes.replace(bytes.find("llama", 0), 5, "mamba");
  const auto config = ReadModelConfig(folder.Write("m.gguf", bytes));
  ASSERT_FALSE(config.ok());
  EXPECT_THAT(config.error().message,
              HasSubstr("general.architecture: found \"mamba\", expected one of llama"));
}

TEST(GgufModelTest, RowsOfHeads) {
  // Of heads of 6: 0 3 1 4 2 5 in the file.
  const std::vector<std::int64_t> expected = {0, 2, 4, 1, 3, 5, 6, 8};
  for (std::int64_t row = 0; row < 8; ++row) {
    EXPECT_EQ(GgufHeadRow(row, 6), expected[static_cast<std::size_t>(row)]);
  }
}

TEST(GgufModelTest, WithoutAVocabularyThereIsNoTokenizer) {
  const auto tokenizer = Tokenizer::Load(Golden("llama_llama3_rope.gguf"));
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kNotFound);
}

TEST(GgufModelTest, QwensVocabularyGivesItsTokens) {
  const auto path = SharedData() / "tokenizer/ggml-vocab-qwen2.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const auto tokenizer = Tokenizer::Load(path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  std::ifstream vectors(SharedData() / "tokenizer/qwen_vectors.jsonl");
  int checked = 0;
  for (std::string line; std::getline(vectors, line); ++checked) {
    const auto vector = nlohmann::json::parse(line);
    EXPECT_EQ((*tokenizer)->Encode(vector.at("text").get<std::string>()),
              vector.at("ids").get<std::vector<std::int32_t>>())
        << line;
  }
  EXPECT_GT(checked, 20);
  EXPECT_EQ((*tokenizer)->eos_id(), 151643);
}

}  // namespace
}  // namespace esa
