// The posix store whose process is killed at any moment: what it reported as committed is there,
// what is there is right, and nothing else is left.
//
// ESA_KILLS says how many processes to kill; ctest -L long kills 200.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "store/posix/packed_files.h"
#include "store/stress/mixed_load.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlocks = 48;
constexpr std::size_t kPinned = 8;
constexpr std::uint64_t kFileBytes = 32768;

enum class Event : std::uint32_t { kOpened, kCommitted, kRemoving };

struct Message {
  Event event;
  std::uint32_t block;
};

// How one victim works.
struct Plan {
  StoreConfig config;
  int threads = 1;
  std::uint64_t seed = 0;
  bool evicts = false;
  std::chrono::microseconds until_kill{0};
};

class Kill : public ::testing::Test {
 protected:
  Plan MakePlan(SplitMix64& random, std::uint64_t seed) const {
    Plan plan;
    plan.config.storage_backends = {path()};
    plan.config.io_direct = random.Below(2) == 0;
    plan.config.durability = random.Below(2) == 0 ? Durability::kCommit : Durability::kNone;
    plan.config.io_threads = static_cast<int>(1 + random.Below(4));
    plan.evicts = random.Below(2) == 0;
    // Beside the pinned blocks, room for those that the threads write meanwhile.
    plan.config.capacity_bytes = plan.evicts ? 20 * kFileBytes : 0;
    if (random.Below(2) == 0) plan.config.pack_below_bytes = 0;
    plan.threads = static_cast<int>(1 + random.Below(4));
    plan.seed = seed;
    plan.until_kill = std::chrono::microseconds(random.Below(50000));
    return plan;
  }

  // In the child.
  [[noreturn]] void Work(const Plan& plan, int pipe_end) const {
    const auto store = CreateBlockStore(plan.config, kSmallLayout);
    if (!store) _exit(2);
    const auto tell = [&](Event event, std::size_t block) {
      const Message message{event, static_cast<std::uint32_t>(block)};
      if (write(pipe_end, &message, sizeof(message)) != sizeof(message)) _exit(3);
    };
    tell(Event::kOpened, 0);
    RunMixedLoad(**store, blocks_,
                 {.seed = plan.seed,
                  .threads = plan.threads,
                  .end = std::chrono::steady_clock::now() + std::chrono::minutes(1),
                  .pinned_blocks = kPinned,
                  .on_committed = [&](std::size_t block) { tell(Event::kCommitted, block); },
                  .on_removing = [&](std::size_t block) { tell(Event::kRemoving, block); }});
    _exit(4);
  }

  // What the victim said before it was killed.
  std::vector<Message> RunAndKill(const Plan& plan) const {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) Work(plan, ends[1]);
    close(ends[1]);
    std::vector<Message> said;
    Message message;
    const bool opened = read(ends[0], &message, sizeof(message)) == sizeof(message);
    EXPECT_TRUE(opened);
    std::this_thread::sleep_for(plan.until_kill);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    while (read(ends[0], &message, sizeof(message)) == sizeof(message)) said.push_back(message);
    close(ends[0]);
    return said;
  }

  struct Outcome {
    std::size_t promised = 0;
    std::size_t found = 0;
    std::size_t leftovers = 0;  // before the folder was opened again
  };

  // `stood`: blocks promised before the victim started, updated to those that are now.
  Outcome KillOnce(const Plan& plan, std::set<std::size_t>* stood) const {
    if (plan.evicts) stood->clear();
    for (const Message& message : RunAndKill(plan)) {
      if (message.event == Event::kRemoving) stood->erase(message.block);
      const bool kept = message.block < kPinned || !plan.evicts;
      if (message.event == Event::kCommitted && kept) stood->insert(message.block);
    }
    Outcome outcome{.promised = stood->size(), .leftovers = CountLeftovers()};
    StoreConfig config = plan.config;
    const auto store = CreateBlockStore(config, kSmallLayout);
    EXPECT_TRUE(store.ok());
    if (!store) return outcome;
    EXPECT_EQ(CountLeftovers(), 1u);  // the owner file of this store
    EXPECT_EQ((*store)->Stats().bytes, BytesOnDisk());
    if (plan.evicts) {
      EXPECT_LE(BytesOnDisk(), config.capacity_bytes);
    }
    for (std::size_t i = 0; i < kBlocks; ++i) {
      const bool hit = Hit(**store, blocks_[i]);
      outcome.found += hit ? 1 : 0;
      EXPECT_TRUE(hit || !stood->contains(i)) << "block " << i << " was reported as committed";
      const Status loaded = LoadAllAndTokens(**store, blocks_[i]);
      EXPECT_EQ(loaded.ok(), hit) << "block " << i;
      EXPECT_FALSE(ServedWrongBytes(loaded)) << "block " << i;
    }
    EXPECT_EQ((*store)->Stats().quarantined_blocks, 0u);
    return outcome;
  }

  std::size_t CountLeftovers() const {
    std::size_t count = 0;
    for (const std::string& stored : StoredPaths(*MakePackedFiles(MakeRealFileSystem()), path())) {
      const bool left = stored.ends_with(".tmp") || stored.ends_with(".probe");
      count += left || stored.ends_with(".owner") ? 1 : 0;
    }
    return count;
  }

  std::uint64_t BytesOnDisk() const {
    std::uint64_t bytes = 0;
    const auto files = MakePackedFiles(MakeRealFileSystem());
    for (const std::string& stored : StoredPaths(*files, path())) {
      if (stored.ends_with(".block")) bytes += files->Stat(stored)->bytes;
    }
    return bytes;
  }

  std::string path() const { return folder_.path() + "/store"; }

  const std::vector<SampleBlock> blocks_ = MakeBlocks(1, kBlocks);

 private:
  TemporaryFolder folder_;
};

TEST_F(Kill, AtRandomMoments) {
  const char* wanted = std::getenv("ESA_KILLS");
  const int kills = wanted == nullptr ? 40 : std::atoi(wanted);
  SplitMix64 random(2024);
  Outcome sum;
  std::set<std::size_t> stood;
  for (int i = 0; i < kills; ++i) {
    const Plan plan = MakePlan(random, static_cast<std::uint64_t>(i));
    const Outcome outcome = KillOnce(plan, &stood);
    sum.promised += outcome.promised;
    sum.found += outcome.found;
    sum.leftovers += outcome.leftovers;
    ASSERT_FALSE(HasFailure()) << "kill " << i;
  }
  std::printf("%d kills: %zu blocks promised, %zu found, all right; %zu leftovers removed\n", kills,
              sum.promised, sum.found, sum.leftovers);
  EXPECT_GT(sum.promised, 0u);
  EXPECT_GT(sum.leftovers, static_cast<std::size_t>(kills));
}

}  // namespace
}  // namespace esa::testing
