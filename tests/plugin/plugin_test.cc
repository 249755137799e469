// Plug-ins, good and bad, loaded by the library and by the program.
#include "esa/plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "cli/testing/cli_fixture.h"
#include "esa/llm.h"

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string PluginPath(const std::string& name) {
  return std::string(ESA_PLUGIN_DIR) + "/" + name + ".so";
}

std::string ErrorOfLoading(const std::string& path) {
  const Status status = LoadSparseAttentionPlugin(path);
  if (status) return "";
  EXPECT_EQ(std::ranges::count(status.error().message, '\n'), 0);
  EXPECT_THAT(status.error().message, AllOf(StartsWith("plug-in "), HasSubstr(path)));
  return status.error().message;
}

TEST(PluginTest, RegistersOnceHoweverOftenItIsLoaded) {
  for (int i = 0; i < 2; ++i) {
    const Status loaded = LoadSparseAttentionPlugin(PluginPath("tail_only"));
    EXPECT_TRUE(loaded) << loaded.error().message;
  }
  EXPECT_THAT(SparseAttentionNames(), Contains("tail_only"));
  EXPECT_TRUE(CreateSparseAttention("tail_only", {}));
  EXPECT_FALSE(CreateSparseAttention("tail_only", {{"k", true}}));
}

TEST(PluginTest, WhatIsNoLibraryIsRefused) {
  EXPECT_THAT(ErrorOfLoading("/no/such/plugin.so"), HasSubstr("No such file"));
  EXPECT_THAT(ErrorOfLoading(ESA_SOURCE_DIR "/tests/plugin/plugin_test.cc"),
              HasSubstr("invalid ELF header"));
  EXPECT_THAT(ErrorOfLoading(PluginPath("no_entry")), HasSubstr("ESA_SPARSE_ATTENTION_PLUGIN"));
}

// Never from the system's folders, where dlopen looks for it.
TEST(PluginTest, ANameWithoutAFolderIsOfTheCurrentFolder) {
  EXPECT_THAT(ErrorOfLoading("libc.so.6"), HasSubstr("./libc.so.6"));
}

TEST(PluginTest, AnotherVersionIsRefusedWithBothNumbers) {
  EXPECT_THAT(ErrorOfLoading(PluginPath("wrong_version")),
              AllOf(HasSubstr("version " + std::to_string(kPluginApiVersion + 1)),
                    HasSubstr("this esa has " + std::to_string(kPluginApiVersion)),
                    HasSubstr("build it with this esa's headers")));
  EXPECT_THAT(ErrorOfLoading(PluginPath("unresolved")),
              AllOf(HasSubstr("NotInThisEsa"), HasSubstr("another esa")));
}

TEST(PluginTest, WhatFailsToRegisterIsRefusedEachTime) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(ErrorOfLoading(PluginPath("throws")), HasSubstr("threw: no coffee"));
    EXPECT_THAT(ErrorOfLoading(PluginPath("name_taken")), HasSubstr("\"ESA\": the name is taken"));
  }
}

TEST(PluginTest, TwoFilesCannotShareAName) {
  const std::string copy = testing::TempDir() + "/esa_plugin_copy.so";
  std::filesystem::copy_file(PluginPath("tail_only"), copy,
                             std::filesystem::copy_options::overwrite_existing);
  ASSERT_TRUE(LoadSparseAttentionPlugin(PluginPath("tail_only")));
  EXPECT_THAT(ErrorOfLoading(copy), HasSubstr("\"tail_only\": the name is taken"));
  std::filesystem::remove(copy);
}

class PluginRun : public CliWithModel {};

TEST_F(PluginRun, TheLibraryDecodesWithIt) {
  EngineConfig config{.model_dir = model_, .kv_memory_bytes = 64u << 20, .block_tokens = 16};
  config.plugins = {PluginPath("tail_only")};
  config.sparse.name = "tail_only";
  auto llm = LLM::Open(config);
  ASSERT_TRUE(llm) << llm.error().message;
  const std::vector<Prompt> prompts{{.token_ids = std::vector<std::int32_t>(40, 300)}};
  const auto done = (*llm)->Generate(prompts, {.max_tokens = 3, .ignore_eos = true});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(done->front().stats.sparse);
}

TEST_F(PluginRun, TheProgramTakesItFromTheFlagOrTheFile) {
  const std::string run = "run --model " + model_ +
                          " --sparse tail_only --block-tokens 16 --max-tokens 3 --ignore-eos"
                          " --prompt 'one two three four five six seven eight nine ten one two'";
  const std::string config =
      Write("c.json", "{\"plugins\": [\"" + PluginPath("tail_only") + "\"]}");
  for (const std::string& from : {"--plugin " + PluginPath("tail_only"), "--config " + config}) {
    const Outcome outcome = Run(run + " " + from);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("(tail_only)"), Not(HasSubstr("densely"))));
  }
  EXPECT_THAT(ErrorOf(run, 2), HasSubstr("expected one of Adaptive, ESA"));
  EXPECT_THAT(ErrorOf(run + " --plugin " + PluginPath("throws"), 2), HasSubstr("no coffee"));
}

}  // namespace
}  // namespace esa
