// The posix store on files that are not what it wrote: flipped bits, cut, foreign, swapped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "base/random.h"
#include "store/checksum.h"
#include "store/posix/block_format.h"
#include "store/posix/file_names.h"
#include "store/posix/posix_store.h"
#include "store/testing/store_fixture.h"
#include "store/testing/volatile_files.h"

namespace esa::testing {
namespace {

constexpr char kPath[] = "/store";

// Five tokens, so that there is padding behind them.
constexpr BlockLayout kOddLayout{
    .block_tokens = 5, .num_slices = 6, .slice_bytes = 4096, .representation_bytes = 40};

using Bytes = std::vector<std::byte>;

class BitFlips : public ::testing::Test {
 protected:
  BitFlips() {
    const auto store = Open();
    for (const SampleBlock* block : {&block_, &other_}) DumpAll(*store, *block);
    good_ = disk_.Content(FileOf(block_));
  }

  std::unique_ptr<BlockStore> Open(const BlockLayout& layout = kOddLayout) {
    StoreConfig config;
    config.storage_backends = {kPath};
    config.io_threads = 1;
    config.pack_below_bytes = 0;
    auto store = CreatePosixStoreOn(disk_.Files(), config, layout);
    EXPECT_TRUE(store.ok());
    return *std::move(store);
  }

  static std::string FileOf(const SampleBlock& block) { return BlockPath(kPath, block.id()); }

  // Neither found nor served, any part of it.
  void ExpectMiss(BlockStore& store, const SampleBlock& block, const std::string& what) {
    EXPECT_FALSE(Hit(store, block)) << what;
    for (std::uint32_t part = 0; part < block.layout().num_slices; ++part) {
      const Status loaded = LoadPart(store, block, part);
      EXPECT_FALSE(loaded.ok() || ServedWrongBytes(loaded)) << what << ", slice " << part;
    }
    for (const std::uint32_t part : {kRepresentations, kTokens}) {
      const Status loaded = LoadPart(store, block, part);
      EXPECT_FALSE(loaded.ok() || ServedWrongBytes(loaded)) << what;
    }
  }

  void ExpectMissOf(const Bytes& content, const std::string& what) {
    disk_.Put(FileOf(block_), content);
    const auto store = Open();
    ExpectMiss(*store, block_, what);
    EXPECT_TRUE(LoadAllAndTokens(*store, other_).ok());
  }

  // The head of good_ with one field changed, and checksums that hold.
  Bytes WithField(std::size_t at, std::uint32_t value) const {
    Bytes bytes = good_;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    for (const std::size_t sum_at : {kFieldsSumAt, std::size_t{areas_.head_sum}}) {
      const std::uint64_t sum = Checksum(std::span(bytes).first(sum_at));
      std::memcpy(bytes.data() + sum_at, &sum, sizeof(sum));
    }
    return bytes;
  }

  const BlockAreas areas_{kOddLayout};
  const SampleBlock block_{1, kOddLayout};
  const SampleBlock other_{2, kOddLayout};
  VolatileDisk disk_;
  Bytes good_;
};

struct Area {
  enum Kind { kHead, kPadding, kRepresentationArea, kSlice } kind;
  std::uint64_t begin;
  std::uint64_t end;
};

TEST_F(BitFlips, AThousandFlipsServeNothingWrong) {
  const std::uint64_t representations_end = areas_.representations + areas_.representations_bytes;
  const std::array<Area, 8> kAreas{
      {{Area::kHead, 0, kTokensAt},
       {Area::kHead, kTokensAt, areas_.sums},
       {Area::kHead, areas_.sums, areas_.head_sum},
       {Area::kHead, areas_.head_sum, areas_.head_bytes()},
       {Area::kPadding, areas_.head_bytes(), areas_.representations},
       {Area::kRepresentationArea, areas_.representations, representations_end},
       {Area::kPadding, representations_end, areas_.slices},
       {Area::kSlice, areas_.slices, areas_.file_bytes}}};
  SplitMix64 random(20);
  std::array<std::size_t, 4> noticed{}, flips{};
  for (std::size_t i = 0; i < 1000; ++i) {
    const Area& area = kAreas[i % kAreas.size()];
    const std::uint64_t at = area.begin + random.Below(area.end - area.begin);
    Bytes bad = good_;
    bad[at] ^= static_cast<std::byte>(1u << random.Below(8));
    // The store meets the flip when it opens, or with head and file at hand.
    const bool warm = random.Below(2) == 0;
    disk_.Put(FileOf(block_), warm ? good_ : bad);
    const auto store = Open();
    if (warm) {
      EXPECT_TRUE(LoadAllAndTokens(*store, block_).ok());
      disk_.Put(FileOf(block_), bad);
    }
    const bool hit = Hit(*store, block_);
    const Status loaded = LoadAllAndTokens(*store, block_);
    ASSERT_FALSE(ServedWrongBytes(loaded)) << "byte " << at;
    ++flips[area.kind];
    noticed[area.kind] += loaded.ok() ? 0 : 1;
    if (area.kind == Area::kPadding) {
      EXPECT_TRUE(hit && loaded.ok()) << "byte " << at;
    }
    if (area.kind == Area::kHead && !warm) {
      EXPECT_FALSE(hit || loaded.ok()) << "byte " << at;
    }
    if (area.kind > Area::kPadding) {
      EXPECT_FALSE(loaded.ok()) << "byte " << at;
      EXPECT_EQ(store->Stats().quarantined_blocks, 1u) << "byte " << at;
      EXPECT_FALSE(Hit(*store, block_)) << "byte " << at;
    }
  }
  EXPECT_EQ(noticed[Area::kPadding], 0u);
  EXPECT_EQ(noticed[Area::kSlice], flips[Area::kSlice]);
  EXPECT_EQ(noticed[Area::kRepresentationArea], flips[Area::kRepresentationArea]);
  EXPECT_GT(noticed[Area::kHead], flips[Area::kHead] / 3);
}

TEST_F(BitFlips, FilesCutOrLengthenedAreMisses) {
  std::vector<std::size_t> lengths;
  for (std::size_t length = 0; length < good_.size(); length += 4096) lengths.push_back(length);
  SplitMix64 random(21);
  for (int i = 0; i < 200; ++i) lengths.push_back(random.Below(good_.size()));
  for (const std::size_t more : {1, 4096, 100000}) lengths.push_back(good_.size() + more);
  for (const std::size_t length : lengths) {
    Bytes bad = good_;
    bad.resize(length);
    ExpectMissOf(bad, std::to_string(length) + " bytes");
  }
}

TEST_F(BitFlips, AFileCutWhileItIsOpenIsNotServed) {
  for (std::size_t length = 0; length < good_.size(); length += 4096) {
    disk_.Put(FileOf(block_), good_);
    const auto store = Open();
    EXPECT_TRUE(LoadAllAndTokens(*store, block_).ok());
    disk_.Put(FileOf(block_), Bytes(good_.begin(), good_.begin() + static_cast<long>(length)));
    const Status loaded = LoadAllAndTokens(*store, block_);
    EXPECT_FALSE(loaded.ok() || ServedWrongBytes(loaded)) << length;
  }
}

TEST_F(BitFlips, ForeignVersionsAndFieldsAreMisses) {
  for (const std::uint32_t version : {0u, kBlockVersion + 1, 0xffffffffu}) {
    ExpectMissOf(WithField(kVersionAt, version), "version " + std::to_string(version));
  }
  for (const std::size_t at :
       {kBlockTokensAt, kNumSlicesAt, kRepresentationBytesAt, kSliceBytesAt, kIdAt, kFileBytesAt}) {
    for (const std::uint32_t value : {0u, 1u, 7u, 8192u, 0xffffffffu}) {
      ExpectMissOf(WithField(at, value), "field at " + std::to_string(at));
    }
  }
}

TEST_F(BitFlips, OtherTokensAreAMissWhateverTheChecksumSays) {
  disk_.Put(FileOf(block_), WithField(kTokensAt, 77));
  EXPECT_FALSE(Hit(*Open(), block_));
}

TEST_F(BitFlips, FilesSwappedBetweenIdsAreMisses) {
  disk_.Put(FileOf(block_), disk_.Content(FileOf(other_)));
  disk_.Put(FileOf(other_), good_);
  const auto store = Open();
  ExpectMiss(*store, block_, "swapped");
  ExpectMiss(*store, other_, "swapped");
  for (const SampleBlock* block : {&block_, &other_}) {
    EXPECT_THAT(DumpAll(*store, *block).failures, ::testing::IsEmpty());
    EXPECT_TRUE(LoadAllAndTokens(*store, *block).ok());
  }
}

TEST_F(BitFlips, AFileOfAnotherLayoutIsAMiss) {
  std::vector<BlockLayout> layouts(4, kOddLayout);
  layouts[0].block_tokens = 6;
  layouts[1].num_slices = 5;
  layouts[2].slice_bytes = 8192;
  layouts[3].representation_bytes = 48;
  for (const BlockLayout& layout : layouts) {
    disk_.Put(FileOf(block_), good_);
    const auto store = Open(layout);
    ExpectMiss(*store, SampleBlock(1, layout), "another layout");
    EXPECT_THAT(DumpAll(*store, SampleBlock(3, layout)).failures, ::testing::IsEmpty());
    EXPECT_TRUE(LoadAllAndTokens(*store, SampleBlock(3, layout)).ok());
    EXPECT_TRUE(store->Remove(SampleBlock(3, layout).id()).ok());
  }
}

}  // namespace
}  // namespace esa::testing
