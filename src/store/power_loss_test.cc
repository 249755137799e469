// The posix store on a disk that loses power, at every call and with many outcomes of each: what
// was promised is there, and what is served is right.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "store/posix/packed_files.h"
#include "store/posix/posix_store.h"
#include "store/testing/store_fixture.h"
#include "store/testing/volatile_files.h"

namespace esa::testing {
namespace {

using ::testing::IsEmpty;

constexpr BlockLayout kTinyLayout{
    .block_tokens = 4, .num_slices = 2, .slice_bytes = 4096, .representation_bytes = 40};
constexpr std::uint64_t kFileBytes = 4096 * (1 + 1 + 2);
constexpr char kPath[] = "/mnt/cache/store";

// Two of them share a fan-out folder.
std::vector<SampleBlock> MakeSamples() {
  std::vector<SampleBlock> samples = SampleChain(1, 5, kTinyLayout);
  for (std::uint32_t seed = 100;; ++seed) {
    SampleBlock block(seed, kTinyLayout);
    if (block.id().bytes[0] != samples[0].id().bytes[0]) continue;
    samples.push_back(std::move(block));
    return samples;
  }
}

// One history of one disk: stores come and go, work, and lose power.
class History {
 public:
  // packs: blocks share files.
  History(std::uint64_t seed, const std::vector<SampleBlock>& samples, bool packs)
      : random_(seed), samples_(samples), packs_(packs) {}

  VolatileDisk& disk() { return disk_; }
  std::uint64_t Below(std::uint64_t bound) { return random_.Below(bound); }
  const std::set<std::size_t>& promised() const { return promised_; }

  std::unique_ptr<BlockStore> Open(Durability durability, std::uint64_t capacity_blocks = 0) {
    StoreConfig config;
    config.storage_backends = {kPath};
    config.durability = durability;
    if (!packs_) config.pack_below_bytes = 0;
    config.capacity_bytes = capacity_blocks * kFileBytes;
    config.io_threads = static_cast<int>(1 + random_.Below(3));
    config.io_direct = random_.Below(2) == 0;
    auto store = CreatePosixStoreOn(disk_.Files(), config, kTinyLayout);
    return store.ok() ? *std::move(store) : nullptr;
  }

  // Some calls of a store, until they are done or the power is gone.
  void Work(BlockStore& store, int calls, bool promises) {
    for (int i = 0; i < calls; ++i) {
      const std::size_t block = random_.Below(samples_.size());
      switch (random_.Below(8)) {
        case 0:
          promised_.erase(block);
          (void)store.Remove(samples_[block].id());
          break;
        case 1:
          (void)Hit(store, samples_[block]);
          break;
        case 2:
          EXPECT_FALSE(ServedWrongBytes(LoadAllAndTokens(store, samples_[block])));
          break;
        case 3:
          WriteAll(store, promises);
          break;
        default:
          Write(store, block, promises);
      }
    }
  }

 private:
  void Write(BlockStore& store, std::size_t block, bool promises) {
    const SampleBlock& sample = samples_[block];
    const Result<bool> begun = store.Begin(sample.key(), sample.parent());
    if (!begun || !*begun) return;
    std::vector<SliceWrite> writes = sample.Writes();
    if (random_.Below(2) == 0) std::swap(writes.front(), writes.back());
    const TaskResult first = Finish(store, store.Dump({writes[0]}));
    if (random_.Below(8) == 0) return store.Abandon(sample.id());
    const TaskResult last = Finish(store, store.Dump({writes[1]}));
    if (!first.failures.empty() || !last.failures.empty()) return store.Abandon(sample.id());
    if (promises) promised_.insert(block);
  }

  // As many blocks at once as there are, of which two meet in a fan-out folder.
  void WriteAll(BlockStore& store, bool promises) {
    std::vector<SliceWrite> writes;
    std::vector<std::size_t> block_of_part;
    for (std::size_t block = 0; block < samples_.size(); ++block) {
      const Result<bool> begun = store.Begin(samples_[block].key(), samples_[block].parent());
      if (!begun || !*begun) continue;
      for (const SliceWrite& write : samples_[block].Writes()) {
        writes.push_back(write);
        block_of_part.push_back(block);
      }
    }
    std::set<std::size_t> stored(block_of_part.begin(), block_of_part.end());
    for (const PartFailure& failure : Finish(store, store.Dump(writes)).failures) {
      store.Abandon(samples_[block_of_part[failure.index]].id());
      stored.erase(block_of_part[failure.index]);
    }
    if (promises) promised_.insert(stored.begin(), stored.end());
  }

  SplitMix64 random_;
  const std::vector<SampleBlock>& samples_;
  const bool packs_;
  VolatileDisk disk_;
  std::set<std::size_t> promised_;
};

class PowerLoss : public ::testing::Test {
 protected:
  // How a history ends, whatever the stores promised: reopened, the disk holds no leftovers,
  // serves nothing wrong, takes every block again and gives every byte back.
  void ExpectSound(History& history) {
    const auto store = history.Open(Durability::kNone);
    ASSERT_NE(store, nullptr);
    EXPECT_EQ(Leftovers(history.disk()), 0u);
    for (const SampleBlock& block : samples_) {
      (void)Hit(*store, block);
      EXPECT_FALSE(ServedWrongBytes(LoadAllAndTokens(*store, block)));
      EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
      EXPECT_TRUE(LoadAllAndTokens(*store, block).ok());
    }
    EXPECT_EQ(store->Stats().bytes, samples_.size() * kFileBytes);
    for (const SampleBlock& block : samples_) EXPECT_TRUE(store->Remove(block.id()).ok());
    EXPECT_EQ(store->Stats().bytes, 0u);
    for (const std::string& path : Paths(history.disk())) {
      EXPECT_TRUE(!path.ends_with(".block") || path.find("/quarantine/") != std::string::npos);
    }
  }

  static std::vector<std::string> Paths(const VolatileDisk& disk) {
    return StoredPaths(*MakePackedFiles(disk.Files()), kPath);
  }

  // Of the stores before this one.
  static std::size_t Leftovers(const VolatileDisk& disk) {
    std::size_t temporaries = 0, owners = 0;
    for (const std::string& path : Paths(disk)) {
      temporaries += path.ends_with(".tmp") || path.ends_with(".probe") ? 1 : 0;
      owners += path.ends_with(".owner") ? 1 : 0;
    }
    return temporaries + owners - 1;
  }

  // Promised blocks that are not served. `all_durable`: whatever is found must load, then.
  std::size_t Broken(History& history, bool all_durable) {
    const auto store = history.Open(Durability::kCommit);
    EXPECT_NE(store, nullptr);
    if (store == nullptr) return samples_.size();
    std::size_t broken = 0;
    for (std::size_t i = 0; i < samples_.size(); ++i) {
      const bool hit = Hit(*store, samples_[i]);
      const bool loads = LoadAllAndTokens(*store, samples_[i]).ok();
      const bool promised = history.promised().contains(i);
      if ((promised || (all_durable && hit)) && !(hit && loads)) ++broken;
    }
    return broken;
  }

  // A life of one or two durable stores, the power cut after `calls` changes; before them a store
  // that syncs nothing, in some. Returns whether the power was cut before the end.
  bool Live(History& history, std::uint64_t calls, bool* all_durable) {
    if (history.Below(3) == 0) {
      *all_durable = false;
      if (const auto store = history.Open(Durability::kNone)) history.Work(*store, 3, false);
    }
    history.disk().CutPowerAfter(calls);
    for (std::uint64_t stores = 1 + history.Below(2); stores > 0; --stores) {
      if (const auto store = history.Open(Durability::kCommit)) history.Work(*store, 10, true);
    }
    return history.disk().calls() >= calls;
  }

  std::size_t BrokenOverall(const std::function<bool(const std::string&)>& ignored_syncs,
                            bool packs = false) {
    std::size_t broken = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      History history(seed, samples_, packs);
      history.disk().IgnoreSyncs(ignored_syncs);
      bool all_durable = true;
      Live(history, history.Below(120), &all_durable);
      history.disk().Restart(seed, LossModel::kReordered);
      broken += Broken(history, all_durable);
    }
    return broken;
  }

  const std::vector<SampleBlock> samples_ = MakeSamples();
};

struct Kind {
  LossModel model;
  bool packs;
};

class PowerLossModels : public PowerLoss, public ::testing::WithParamInterface<Kind> {};

TEST_P(PowerLossModels, WhatWasReportedAsCommittedIsThere) {
  std::size_t cases = 0, promised = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    History history(seed, samples_, GetParam().packs);
    bool all_durable = true;
    // Up to three losses in the life of one disk.
    for (std::uint64_t losses = 1 + seed % 3; losses > 0; --losses) {
      Live(history, history.Below(160), &all_durable);
      history.disk().Restart(seed, GetParam().model);
      promised += history.promised().size();
      ++cases;
      ASSERT_EQ(Broken(history, all_durable), 0u) << "seed " << seed << ", losses left " << losses;
    }
    history.disk().Restart(seed, GetParam().model);
    ExpectSound(history);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  RecordProperty("losses", std::to_string(cases));
  RecordProperty("promised_blocks", std::to_string(promised));
  EXPECT_GT(promised, cases);
}

TEST_P(PowerLossModels, WithoutSyncsNothingWrongIsServed) {
  std::size_t lost = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    History history(seed, samples_, GetParam().packs);
    history.disk().CutPowerAfter(history.Below(160));
    if (const auto store = history.Open(Durability::kNone)) history.Work(*store, 20, true);
    history.disk().Restart(seed, GetParam().model);
    lost += Broken(history, false);
    ExpectSound(history);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  EXPECT_GT(lost, 0u);  // else the disk loses nothing, and the tests above prove nothing
}

TEST_P(PowerLossModels, AtEveryCallOfACommit) {
  std::size_t reported = 0;
  for (std::uint64_t calls = 0, cut = 1; cut != 0; ++calls) {
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
      History history(seed, samples_, GetParam().packs);
      history.disk().CutPowerAfter(calls);
      bool done = false;
      if (const auto store = history.Open(Durability::kCommit)) {
        if (*store->Begin(samples_[0].key(), {})) {
          done = Finish(*store, store->Dump(samples_[0].Writes())).failures.empty();
        }
      }
      cut = history.disk().calls() >= calls ? 1 : 0;
      reported += done ? 1 : 0;
      history.disk().Restart(seed, GetParam().model);
      const auto store = history.Open(Durability::kCommit);
      ASSERT_NE(store, nullptr);
      const bool hit = Hit(*store, samples_[0]);
      EXPECT_TRUE(hit || !done) << "power lost after call " << calls << ", seed " << seed;
      EXPECT_TRUE(!hit || LoadAllAndTokens(*store, samples_[0]).ok()) << calls << ", seed " << seed;
      EXPECT_EQ(store->Stats().quarantined_blocks, 0u);
    }
  }
  EXPECT_GT(reported, 0u);
}

TEST_P(PowerLossModels, ASmallCapacityHoldsAfterwards) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    History history(seed, samples_, GetParam().packs);
    history.disk().CutPowerAfter(history.Below(200));
    if (const auto store = history.Open(Durability::kCommit, 3)) history.Work(*store, 20, false);
    history.disk().Restart(seed, GetParam().model);
    {
      const auto store = history.Open(Durability::kCommit, 3);
      ASSERT_NE(store, nullptr);
      EXPECT_LE(store->Stats().bytes, 3 * kFileBytes);
      history.Work(*store, 10, false);
      EXPECT_LE(store->Stats().bytes, 3 * kFileBytes);
    }
    ExpectSound(history);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, PowerLossModels,
    ::testing::Values(Kind{LossModel::kOrdered, false}, Kind{LossModel::kReordered, false},
                      Kind{LossModel::kOrdered, true}, Kind{LossModel::kReordered, true}),
    [](const auto& kind) {
      const bool ordered = kind.param.model == LossModel::kOrdered;
      return std::string(ordered ? "Ordered" : "Reordered") + (kind.param.packs ? "Packed" : "");
    });

// The tests above must fail for a store that forgets a sync, or they prove nothing.
TEST_F(PowerLoss, AnySyncThatIsLeftOutIsNoticed) {
  EXPECT_EQ(BrokenOverall(nullptr), 0u);
  const std::string folder = kPath;
  const auto is_file = [](const std::string& path) { return path.ends_with(".tmp"); };
  const auto is_fan = [&](const std::string& path) { return path.size() == folder.size() + 3; };
  const auto is_folder = [&](const std::string& path) { return path == folder; };
  const auto is_parent = [](const std::string& path) { return path == "/mnt/cache"; };
  const auto is_root = [](const std::string& path) { return path == "/"; };
  EXPECT_GT(BrokenOverall(is_file), 0u);
  EXPECT_GT(BrokenOverall(is_fan), 0u);
  EXPECT_GT(BrokenOverall(is_folder), 0u);
  EXPECT_GT(BrokenOverall(is_parent), 0u);
  EXPECT_GT(BrokenOverall(is_root), 0u);
}

TEST_F(PowerLoss, AnySyncThatIsLeftOutIsNoticedWhereBlocksShareFiles) {
  const auto broken_without = [&](const std::string& ending) {
    return BrokenOverall([&](const std::string& path) { return path.ends_with(ending); }, true);
  };
  EXPECT_EQ(BrokenOverall(nullptr, true), 0u);
  EXPECT_GT(broken_without(".extent"), 0u);
  EXPECT_GT(broken_without("/table"), 0u);
  EXPECT_GT(broken_without("/extents"), 0u);
  EXPECT_GT(broken_without("/store"), 0u);
  EXPECT_GT(broken_without("/mnt/cache"), 0u);
}

// A store without durability made the fan-out folder, or one whose sync of it failed.
TEST_F(PowerLoss, AFanOutFolderThatAnotherStoreMadeIsSynced) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    History history(seed, samples_, seed % 2 == 0);
    const auto careless = history.Open(Durability::kNone);
    ASSERT_NE(careless, nullptr);
    const auto durable = history.Open(Durability::kCommit);
    ASSERT_NE(durable, nullptr);
    ASSERT_THAT(DumpAll(*careless, samples_.front()).failures, IsEmpty());
    ASSERT_THAT(DumpAll(*durable, samples_.back()).failures, IsEmpty());
    history.disk().Restart(seed, LossModel::kReordered);
    const auto store = history.Open(Durability::kCommit);
    ASSERT_NE(store, nullptr);
    EXPECT_TRUE(Hit(*store, samples_.back())) << seed;
    EXPECT_TRUE(LoadAllAndTokens(*store, samples_.back()).ok()) << seed;
  }
}

}  // namespace
}  // namespace esa::testing
