// `esa store` and `--metrics` through the built binary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/testing/cli_fixture.h"
#include "store/testing/store_fixture.h"

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;
using testing::kSmallLayout;
using testing::SampleBlock;

constexpr std::uint64_t kBlockBytes = 32768;  // of kSmallLayout

class StoreCli : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    store_ = folder_ + "/kv";
    chain_ = Dump(store_, 1, 5);
  }

  static std::vector<SampleBlock> Dump(const std::string& folder, std::uint32_t first,
                                       std::uint32_t count, bool packs = false) {
    StoreConfig config;
    config.storage_backends = {folder};
    if (!packs) config.pack_below_bytes = 0;
    const auto store = *CreateBlockStore(config, kSmallLayout);
    std::vector<SampleBlock> chain = testing::SampleChain(first, count);
    for (const SampleBlock& block : chain) (void)testing::DumpAll(*store, block);
    return chain;
  }

  std::string PathOf(const SampleBlock& block) const {
    const std::string id = block.id().Hex();
    return store_ + "/" + id.substr(0, 2) + "/" + id + ".block";
  }
  bool Exists(const SampleBlock& block) const { return std::filesystem::exists(PathOf(block)); }
  std::size_t CountBlocks() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(chain_, [&](const SampleBlock& block) { return Exists(block); }));
  }

  void FlipLastByte(const SampleBlock& block) {
    std::fstream file(PathOf(block), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(-1, std::ios::end);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(-1, std::ios::end);
    file.put(byte);
  }

  Json RunJson(const std::string& arguments, int code = 0) {
    const Outcome outcome = Run("store " + arguments + " --json --store " + store_);
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.err;
    return Json::parse(outcome.out, nullptr, false);
  }
  Outcome RunText(const std::string& arguments) {
    return Run("store " + arguments + " --store " + store_);
  }

  std::string store_;
  std::vector<SampleBlock> chain_;
};

TEST_F(StoreCli, HelpHasAnExampleForEveryCommand) {
  for (const char* command : {"", "ls", "stat", "verify", "gc", "rm"}) {
    const Outcome outcome = Run(std::string("store ") + command + " --help");
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("Example"), HasSubstr("esa store "))) << command;
  }
}

TEST_F(StoreCli, WhatIsNoStoreIsNamedAndNotTouched) {
  std::filesystem::create_directories(folder_ + "/mine/ab");
  const std::string block = folder_ + "/mine/ab/" + "ab" + std::string(30, '0') + ".block";
  std::ofstream(block) << "mine";
  const std::string file = Write("file", "");
  for (const std::string command :
       {"ls", "stat", "verify", "gc --quarantine", "rm --all --yes", "rm ab00"}) {
    EXPECT_THAT(ErrorOf("store " + command + " --store " + folder_ + "/mine", 1),
                HasSubstr("mine: not a folder of a block store"));
    EXPECT_THAT(ErrorOf("store " + command + " --store " + file, 1),
                HasSubstr("expected a folder, found a file"));
    EXPECT_THAT(ErrorOf("store " + command + " --store " + folder_ + "/none", 1),
                HasSubstr("No such file"));
    // The good folder before the bad one is not touched either.
    (void)Run("store " + command + " --store " + store_ + " --store " + folder_ + "/mine");
    EXPECT_EQ(CountBlocks(), chain_.size()) << command;
  }
  EXPECT_TRUE(std::filesystem::exists(block));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/none"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/mine/quarantine"));
}

TEST_F(StoreCli, AFolderThatMayNotBeReadIsNamed) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  std::filesystem::permissions(store_, std::filesystem::perms::none);
  EXPECT_THAT(ErrorOf("store ls --store " + store_, 1), HasSubstr("Permission denied"));
  std::filesystem::permissions(store_, std::filesystem::perms::owner_all);
}

TEST_F(StoreCli, UsageErrors) {
  EXPECT_THAT(ErrorOf("store ls", 2), HasSubstr("--store"));
  EXPECT_THAT(ErrorOf("store ls --limit 0 --store " + store_, 2), HasSubstr("--limit"));
  EXPECT_THAT(ErrorOf("store gc --older-than 3y --store " + store_, 2),
              AllOf(HasSubstr("3y"), HasSubstr("such as 12h")));
  EXPECT_THAT(ErrorOf("store gc --capacity much --store " + store_, 2), HasSubstr("much"));
  EXPECT_THAT(ErrorOf("store verify --threads 0 --store " + store_, 2), HasSubstr("--threads"));
  EXPECT_THAT(ErrorOf("store rm --store " + store_, 2), HasSubstr("--all"));
  EXPECT_THAT(ErrorOf("store rm abcd --all --yes --store " + store_, 2), HasSubstr("--all"));
  EXPECT_THAT(ErrorOf("store rm --all --chain --yes --store " + store_, 2), HasSubstr("--chain"));
  EXPECT_EQ(CountBlocks(), chain_.size());
}

TEST_F(StoreCli, ListsByRecency) {
  const Json list = RunJson("ls --limit 3");
  EXPECT_EQ(list.at("total"), 5);
  ASSERT_EQ(list.at("blocks").size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const Json& block = list.at("blocks").at(i);
    EXPECT_EQ(block.at("id"), chain_[i].id().Hex());
    EXPECT_EQ(block.at("parent"), chain_[i].parent().Hex());
    EXPECT_EQ(block.at("folder"), store_);
    EXPECT_EQ(block.at("bytes"), kBlockBytes);
    EXPECT_EQ(block.at("tokens"), 4);
    EXPECT_EQ(block.at("layout").at("num_slices"), 6);
    EXPECT_GE(block.at("age_seconds"), 0.0);
    EXPECT_LT(block.at("age_seconds"), 600.0);
  }
  const Outcome text = RunText("ls --limit 3");
  EXPECT_THAT(text.out, AllOf(HasSubstr(chain_[2].id().Hex()), HasSubstr("6 x 4.00 KiB"),
                              HasSubstr("3 of 5 blocks")));
  EXPECT_THAT(text.out, Not(HasSubstr(chain_[3].id().Hex())));
}

TEST_F(StoreCli, BlocksThatShareFilesAreBlocksLikeOthers) {
  const std::vector<SampleBlock> packed = Dump(store_, 20, 4, true);
  EXPECT_FALSE(Exists(packed[3]));  // as a file of its own
  EXPECT_EQ(RunJson("ls")["total"], 9);
  EXPECT_EQ(RunJson("verify")["folders"][0]["blocks"], 9);
  EXPECT_EQ(RunJson("rm " + packed[3].id().Hex())["removed"], 1);
  EXPECT_EQ(RunJson("ls")["total"], 8);
  EXPECT_EQ(RunJson("rm --all --yes")["removed"], 8);
  EXPECT_EQ(RunJson("ls")["total"], 0);
}

TEST_F(StoreCli, ListsAsATree) {
  // A second continuation of the first block, used last.
  StoreConfig config;
  config.storage_backends = {store_};
  const SampleBlock branch(9, kSmallLayout, chain_[0].id());
  (void)testing::DumpAll(**CreateBlockStore(config, kSmallLayout), branch);
  const Json list = RunJson("ls --tree");
  std::vector<std::pair<std::string, int>> found;
  for (const Json& block : list.at("blocks")) {
    found.emplace_back(block.at("id"), block.at("depth"));
  }
  ASSERT_EQ(found.size(), 6u);
  EXPECT_EQ(found[0], std::make_pair(chain_[0].id().Hex(), 0));
  for (int i = 1; i < 5; ++i) {
    const std::pair<std::string, int> place(chain_[i].id().Hex(), i);
    EXPECT_EQ(std::ranges::count(found, place), 1) << i;
  }
  EXPECT_EQ(std::ranges::count(found, std::make_pair(branch.id().Hex(), 1)), 1);
  EXPECT_THAT(RunText("ls --tree").out, HasSubstr("\n  " + chain_[4].id().Hex()));
}

TEST_F(StoreCli, StatCountsEverything) {
  FlipLastByte(chain_[4]);
  RunJson("verify", 1);
  const Json stat = RunJson("stat");
  const Json& folder = stat.at("folders").at(0);
  EXPECT_EQ(folder.at("blocks"), 4);
  EXPECT_EQ(folder.at("bytes"), 4 * kBlockBytes);
  EXPECT_EQ(folder.at("quarantined"), 1);
  EXPECT_EQ(folder.at("leftovers"), 0);
  EXPECT_GT(folder.at("filesystem_bytes"), 0);
  EXPECT_EQ(folder.at("layouts").at(0).at("blocks"), 4);
  EXPECT_EQ(folder.at("layouts").at(0).at("slice_bytes"), 4096);
  EXPECT_EQ(stat.at("chains"), Json({{"starts", 1}, {"ends", 1}, {"longest_blocks", 4}}));
  EXPECT_THAT(RunText("stat").out, AllOf(HasSubstr("4 (128.00 KiB)"), HasSubstr("6 slices of")));
}

TEST_F(StoreCli, VerifyFindsQuarantinesAndFails) {
  EXPECT_EQ(RunText("verify").code, 0);
  FlipLastByte(chain_[2]);
  const Json dry = RunJson("verify --dry-run --threads 3", 1);
  ASSERT_EQ(dry.at("folders").at(0).at("findings").size(), 1u);
  EXPECT_TRUE(Exists(chain_[2]));
  const Outcome found = RunText("verify");
  EXPECT_EQ(found.code, 1);
  EXPECT_EQ(found.err, "esa: blocks found: 1 corrupt, 0 unreadable\n");
  EXPECT_THAT(found.out, AllOf(HasSubstr("5 blocks (160.00 KiB)"),
                               HasSubstr(chain_[2].id().Hex() + "  corrupt, quarantined: checksum "
                                                                "of slice 5 does not match\n")));
  EXPECT_FALSE(Exists(chain_[2]));
  const Json after = RunJson("verify");
  EXPECT_EQ(after.at("folders").at(0).at("blocks"), 4);
  EXPECT_THAT(after.at("folders").at(0).at("findings"), IsEmpty());
}

TEST_F(StoreCli, CollectsDownToACapacity) {
  const Json dry = RunJson("gc --capacity 64KiB --dry-run");
  EXPECT_EQ(CountBlocks(), 5u);
  const Json report = RunJson("gc --capacity 64KiB");
  for (const char* field : {"freed_bytes", "evicted", "kept"}) {
    EXPECT_EQ(dry.at("folders").at(0).at(field), report.at("folders").at(0).at(field));
  }
  EXPECT_EQ(report.at("folders").at(0).at("freed_bytes"), 3 * kBlockBytes);
  EXPECT_EQ(report.at("folders").at(0).at("kept").at("count"), 2);
  EXPECT_TRUE(Exists(chain_[1]));
  EXPECT_FALSE(Exists(chain_[2]));
  EXPECT_THAT(RunText("gc --quarantine").out, HasSubstr("freed        0 B"));
}

TEST_F(StoreCli, CollectsWhatIsOld) {
  const auto old = std::filesystem::last_write_time(PathOf(chain_[4])) - std::chrono::hours(50);
  std::filesystem::last_write_time(PathOf(chain_[4]), old);
  for (const char* longer : {"3d", "51h", "3060m", "1w", "190000s"}) {
    EXPECT_EQ(RunJson(std::string("gc --older-than ") + longer)
                  .at("folders")
                  .at(0)
                  .at("expired")
                  .at("count"),
              0)
        << longer;
  }
  EXPECT_EQ(RunJson("gc --older-than 2d").at("folders").at(0).at("expired").at("count"), 1);
  EXPECT_FALSE(Exists(chain_[4]));
  EXPECT_EQ(CountBlocks(), 4u);
}

TEST_F(StoreCli, RemovesByPrefix) {
  const std::string id = chain_[2].id().Hex();
  EXPECT_THAT(ErrorOf("store rm " + id + " 00000000 --store " + store_, 1),
              HasSubstr("no block begins with 00000000"));
  EXPECT_EQ(CountBlocks(), 5u);
  EXPECT_THAT(RunText("rm --dry-run --chain " + id).out, StartsWith("would remove 3 blocks"));
  EXPECT_EQ(CountBlocks(), 5u);
  EXPECT_EQ(RunText("rm " + id.substr(0, 10)).out, "removed 1 block (32.00 KiB)\n");
  EXPECT_EQ(CountBlocks(), 4u);
  const Json chain = RunJson("rm --chain " + chain_[3].id().Hex());
  EXPECT_EQ(chain.at("removed"), 2);
  EXPECT_EQ(chain.at("ids"), Json({chain_[4].id().Hex(), chain_[3].id().Hex()}));
  EXPECT_TRUE(Exists(chain_[1]));
}

TEST_F(StoreCli, RemovesAllOnlyWithYes) {
  EXPECT_THAT(ErrorOf("store rm --all --store " + store_, 2), HasSubstr("add --yes"));
  EXPECT_EQ(CountBlocks(), 5u);
  EXPECT_EQ(RunJson("rm --all --dry-run").at("removed"), 5);
  EXPECT_EQ(CountBlocks(), 5u);
  EXPECT_EQ(RunJson("rm --all --yes").at("removed_bytes"), 5 * kBlockBytes);
  EXPECT_EQ(CountBlocks(), 0u);
  EXPECT_EQ(RunJson("ls").at("total"), 0);
}

TEST_F(StoreCli, ChangesASharedFolderOnlyWhenToldTo) {
  FlipLastByte(chain_[2]);
  const std::string id = chain_[4].id().Hex();
  std::filesystem::permissions(store_, std::filesystem::perms::all);
  const std::vector<std::string> commands = {"verify", "rm " + id, "gc --capacity 32KiB",
                                             "rm --all --yes"};
  for (const std::string& command : commands) {
    EXPECT_THAT(ErrorOf("store " + command + " --store " + store_, 1),
                HasSubstr("lets others write"));
  }
  EXPECT_EQ(CountBlocks(), 5u);
  const std::string shared = " --allow-shared-folder";
  EXPECT_EQ(RunJson("verify" + shared, 1).at("folders").at(0).at("corrupt"), 1);
  EXPECT_EQ(CountBlocks(), 4u);
  EXPECT_EQ(RunJson("rm " + id + shared).at("removed"), 1);
  EXPECT_EQ(RunJson("gc --capacity 32KiB" + shared).at("folders").at(0).at("evicted").at("count"),
            2);
  EXPECT_EQ(RunJson("rm --all --yes" + shared).at("removed"), 1);
  EXPECT_EQ(CountBlocks(), 0u);
}

// What the program says on a terminal where `answer` is typed.
std::string OnTerminal(const std::string& folder, const char* answer, int* code) {
  int terminal = -1;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) {
    execl(ESA_BINARY, "esa", "store", "rm", "--all", "--store", folder.c_str(), nullptr);
    _exit(127);
  }
  EXPECT_EQ(write(terminal, answer, std::strlen(answer)),
            static_cast<ssize_t>(std::strlen(answer)));
  std::string said;
  char bytes[512];
  for (ssize_t count; (count = read(terminal, bytes, sizeof(bytes))) > 0;) {
    said.append(bytes, static_cast<std::size_t>(count));
  }
  int status = 0;
  waitpid(child, &status, 0);
  close(terminal);
  *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return said;
}

TEST_F(StoreCli, AsksOnATerminal) {
  int code = -1;
  EXPECT_THAT(OnTerminal(store_, "n\n", &code),
              AllOf(HasSubstr("Remove all 5 blocks (160.00 KiB)? [y/N]"),
                    HasSubstr("nothing was removed")));
  EXPECT_EQ(code, 1);
  EXPECT_EQ(CountBlocks(), 5u);
  EXPECT_THAT(OnTerminal(store_, "y\n", &code), HasSubstr("removed 5 blocks"));
  EXPECT_EQ(code, 0);
  EXPECT_EQ(CountBlocks(), 0u);
}

TEST_F(CliWithModel, MetricsAreWrittenAtTheEnd) {
  const std::string metrics = folder_ + "/esa.prom";
  const std::string run = "run --max-tokens 1 --block-tokens 16 --store " + folder_ +
                          "/kv --model " + model_ + " --file " +
                          Write("p.txt", std::string(2000, 'a'));
  ASSERT_EQ(Run(run + " --metrics " + metrics).code, 0);
  EXPECT_THAT(ReadAll(metrics),
              AllOf(StartsWith("# HELP esa_store_"), EndsWith("\n"),
                    ContainsRegex("\nesa_store_blocks\\{backend=\"posix\"\\} [1-9]"),
                    HasSubstr("\nesa_store_lookup_hits_total{backend=\"posix\"} 0\n")));
  ASSERT_EQ(Run(run + " --metrics " + metrics).code, 0);
  EXPECT_THAT(ReadAll(metrics),
              ContainsRegex("\nesa_store_lookup_hits_total\\{backend=\"posix\"\\} [1-9]"));
  const Outcome failed = Run(run + " --metrics " + folder_ + "/none/esa.prom");
  EXPECT_EQ(failed.code, 1);
  EXPECT_THAT(failed.err, HasSubstr("none/esa.prom"));
}

TEST_F(StoreCli, BenchMeasuresAndLeavesNothing) {
  const std::string dir = folder_ + "/disk";
  std::filesystem::create_directories(dir);
  const Outcome json = Run("store bench --dir " + dir +
                           " --slice-bytes 4096 --bytes 1MiB --rounds 1 --depth 4 --json");
  ASSERT_EQ(json.code, 0) << json.err;
  const Json result = Json::parse(json.out);
  EXPECT_EQ(result["slice_bytes"], 4096);
  for (const char* key : {"dump_gbps", "load_gbps", "load_unverified_gbps", "selection_gbps",
                          "dump_cpu_s_per_gb", "selection_p99_ms", "lookup_1000_ms"}) {
    EXPECT_GT(result[key].get<double>(), 0) << key;
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir));
  const Outcome odd = Run("store bench --dir " + dir + " --slice-bytes 5000");
  EXPECT_NE(odd.code, 0);
  EXPECT_THAT(odd.err, HasSubstr("slice_bytes"));
  EXPECT_NE(Run("store bench --dir /proc/nowhere --bytes 1MiB").code, 0);
}

}  // namespace
}  // namespace esa
