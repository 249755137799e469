// What the redis store keeps on its server, and that nothing damaged there is served.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "store/checksum.h"
#include "store/posix/block_format.h"
#include "store/testing/redis_fixture.h"

namespace esa::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

using RedisStore = RedisStoreTest;

TEST_F(RedisStore, KeepsABlockAsTheBytesOfABlockFile) {
  const auto store = Open();
  const SampleBlock parent(7), block(1, kSmallLayout, parent.id());
  DumpAll(*store, block);
  const std::string key = OnlyKey();
  EXPECT_THAT(key, HasSubstr(":" + block.id().Hex()));
  const std::string value = server_->Get(key);
  const BlockAreas areas(kSmallLayout);
  ASSERT_EQ(value.size(), areas.file_bytes);
  const auto head = DecodeHead(std::as_bytes(std::span(value)), kSmallLayout, block.id(), nullptr);
  ASSERT_TRUE(head.ok()) << head.error().message;
  EXPECT_EQ(head->parent, parent.id());
  EXPECT_EQ(std::memcmp(value.data() + areas.slices, block.slice(0), 6 * 4096), 0);
  EXPECT_EQ(std::memcmp(value.data() + areas.representations, block.representations().data(),
                        block.representations().size()),
            0);
  EXPECT_EQ(server_->Integer({"TTL", key}), -1) << "a committed block must not expire";
  EXPECT_THAT(server_->Keys("*"), SizeIs(1));
}

TEST_F(RedisStore, SharesBlocksBetweenStores) {
  const auto here = Open(), there = Open();
  const SampleBlock block(1);
  ASSERT_TRUE(*here->Begin(block.key(), {}));
  ASSERT_TRUE(*there->Begin(block.key(), {}));  // both write it
  EXPECT_THAT(Finish(*there, there->Dump(block.Writes())).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*here, block).ok());
  EXPECT_THAT(Finish(*here, here->Dump(block.Writes())).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*there, block).ok());
  EXPECT_THAT(server_->Keys("*"), SizeIs(1));
  EXPECT_TRUE(here->Remove(block.id()).ok());
  EXPECT_FALSE(Hit(*there, block));
}

TEST_F(RedisStore, AValueThatIsThereStays) {
  const auto here = Open(), there = Open();
  const SampleBlock block(1);
  ASSERT_TRUE(*here->Begin(block.key(), {}));
  ASSERT_TRUE(*there->Begin(block.key(), {}));
  DumpAll(*Open(), block);
  // Between two areas, where nothing depends on the byte: it tells the first value.
  const std::string at = std::to_string(BlockAreas(kSmallLayout).representations - 1);
  server_->Integer({"SETRANGE", OnlyKey(), at, "x"});
  EXPECT_THAT(Finish(*here, here->Dump(block.Writes())).failures, IsEmpty());
  EXPECT_EQ(server_->Get(OnlyKey())[BlockAreas(kSmallLayout).representations - 1], 'x');
  EXPECT_TRUE(LoadAll(*here, block).ok());
  EXPECT_EQ(here->Stats().blocks, 1u);
}

TEST_F(RedisStore, EveryWriteRenewsTheExpiryOfATemporaryKeyOfFullLength) {
  const auto store = Open();
  const SampleBlock block(1);
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  const auto keys = server_->Keys("esa:t:*");
  ASSERT_THAT(keys, SizeIs(1));
  for (std::uint32_t slice = 0; slice < 3; ++slice) {
    EXPECT_EQ(server_->Integer({"EXPIRE", keys[0], "100"}), 1);
    EXPECT_THAT(Finish(*store, store->Dump({block.Write(slice)})).failures, IsEmpty());
    EXPECT_GT(server_->Integer({"TTL", keys[0]}), 3000);
    EXPECT_EQ(server_->Integer({"STRLEN", keys[0]}),
              static_cast<std::int64_t>(BlockAreas(kSmallLayout).file_bytes));
  }
}

TEST_F(RedisStore, LayoutsDoNotSeeEachOther) {
  BlockLayout wide = kSmallLayout;
  wide.slice_bytes *= 2;
  const auto narrow_store = Open(), wide_store = Open(wide);
  const SampleBlock block(1), wide_block(1, wide);
  DumpAll(*narrow_store, block);
  EXPECT_FALSE(Hit(*wide_store, wide_block));
  DumpAll(*wide_store, wide_block);
  EXPECT_TRUE(LoadAll(*narrow_store, block).ok());
  EXPECT_TRUE(LoadAll(*wide_store, wide_block).ok());
  EXPECT_EQ(narrow_store->Stats().blocks, 1u);
  EXPECT_EQ(narrow_store->Stats().quarantined_blocks, 0u);
}

TEST_F(RedisStore, LeavesNoTemporaryKeys) {
  {
    const auto store = Open();
    const SampleBlock abandoned(1), failed(2), open(3);
    for (const SampleBlock* block : {&abandoned, &failed, &open}) {
      ASSERT_TRUE(*store->Begin(block->key(), {}));
      Finish(*store, store->Dump({block->Write(0), block->Write(1)}));
    }
    const auto keys = server_->Keys("esa:t:*");
    EXPECT_THAT(keys, SizeIs(3));
    for (const std::string& key : keys) EXPECT_GT(server_->Integer({"TTL", key}), 3000);
    store->Abandon(abandoned.id());
    EXPECT_THAT(Finish(*store, store->Dump({failed.Write(0)})).failures, SizeIs(1));
  }
  EXPECT_THAT(server_->Keys("*"), IsEmpty());
}

TEST_F(RedisStore, NeverServesADamagedValue) {
  const auto store = Open();
  const BlockAreas areas(kSmallLayout);
  const auto damage = [&](const std::string& key, std::uint64_t at) {
    const char byte = static_cast<char>(server_->Get(key)[at] ^ 0x10);
    server_->Integer({"SETRANGE", key, std::to_string(at), std::string_view(&byte, 1)});
  };
  std::uint64_t quarantined = 0;
  for (const std::uint64_t at :
       {std::uint64_t{0}, std::uint64_t{kVersionAt}, std::uint64_t{kBlockTokensAt},
        std::uint64_t{kIdAt} + 3, std::uint64_t{kTokensAt} + 1, areas.sums + 9, areas.head_sum,
        areas.representations + 5, areas.slices + 3 * 4096 + 77, areas.file_bytes - 1}) {
    for (const bool head_at_hand : {false, true}) {
      const SampleBlock block(1);
      EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
      const auto other = Open();  // has no head at hand
      BlockStore& reader = head_at_hand ? *store : *other;
      if (head_at_hand) {
        EXPECT_TRUE(LoadAll(reader, block).ok());
      }
      damage(OnlyKey(), at);
      const Status loaded = LoadAll(reader, block);
      if (head_at_hand && at < areas.representations) {
        // The head at hand is sound, and so are the parts it vouches for.
        EXPECT_TRUE(loaded.ok()) << at;
        EXPECT_FALSE(Hit(*other, block)) << at;
        EXPECT_EQ(other->Stats().quarantined_blocks, 1u);
      } else {
        EXPECT_TRUE(FailsWith(loaded, ErrorCode::kDataError)) << at;
        EXPECT_EQ(reader.Stats().quarantined_blocks, head_at_hand ? ++quarantined : 1u);
      }
      EXPECT_FALSE(Hit(*store, block)) << at;
      EXPECT_THAT(server_->Keys("esa:b:*"), IsEmpty());
    }
  }
  const auto aside = server_->Keys("esa:q:*");
  ASSERT_THAT(aside, SizeIs(1));
  EXPECT_GT(server_->Integer({"TTL", aside[0]}), 0);
}

TEST_F(RedisStore, NeverServesAValueCutShort) {
  const BlockAreas areas(kSmallLayout);
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{90}, std::size_t{4096},
                                  static_cast<std::size_t>(areas.slices + 4096),
                                  static_cast<std::size_t>(areas.file_bytes - 1),
                                  static_cast<std::size_t>(areas.file_bytes + 1)}) {
    for (const bool head_at_hand : {false, true}) {
      const auto writer = Open();
      const SampleBlock block(1);
      EXPECT_THAT(DumpAll(*writer, block).failures, IsEmpty());
      const auto reader = Open();
      if (head_at_hand) {
        EXPECT_TRUE(LoadAll(*reader, block).ok());
      }
      std::string value = server_->Get(OnlyKey());
      value.resize(bytes);
      ASSERT_TRUE(server_->Do({"SET", OnlyKey(), value}).ok());
      EXPECT_TRUE(FailsWith(LoadPart(*reader, block, 5), ErrorCode::kDataError)) << bytes;
      EXPECT_FALSE(Hit(*reader, block));
      EXPECT_EQ(reader->Stats().quarantined_blocks, 1u);
    }
  }
}

TEST_F(RedisStore, AValueOfAnotherTypeIsAMiss) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  const std::string key = OnlyKey();
  EXPECT_EQ(server_->Integer({"DEL", key}), 1);
  EXPECT_EQ(server_->Integer({"LPUSH", key, "x"}), 1);
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(RedisStore, AnotherBlocksValueIsNotServed) {
  const auto store = Open();
  const SampleBlock a(1), b(2);
  DumpAll(*store, a);
  const std::string key = OnlyKey();
  DumpAll(*store, b);
  const std::string other = key.substr(0, key.size() - 32) + b.id().Hex();
  ASSERT_EQ(server_->Integer({"COPY", other, key, "REPLACE"}), 1);
  EXPECT_FALSE(LoadAll(*store, a).ok());
  EXPECT_FALSE(Hit(*store, a));
  EXPECT_TRUE(LoadAll(*store, b).ok());
}

TEST_F(RedisStore, AForeignValueIsACountedMissUntilItsBlockIsWritten) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  const std::string key = OnlyKey();
  std::string value = server_->Get(key);
  const auto bytes = std::as_writable_bytes(std::span(value));
  bytes[kFlagsAt + 1] = std::byte{1};  // a flag of a later version, and a sound checksum
  const std::uint64_t sum = Checksum(bytes.first(kFieldsSumAt));
  std::memcpy(bytes.data() + kFieldsSumAt, &sum, sizeof(sum));
  ASSERT_TRUE(server_->Do({"SET", key, value}).ok());
  const auto reader = Open();  // has no head at hand
  EXPECT_TRUE(FailsWith(LoadPart(*reader, block, 0), ErrorCode::kNotFound));
  EXPECT_EQ(server_->Get(key), value);
  EXPECT_FALSE(Hit(*reader, block));
  EXPECT_EQ(reader->Stats().foreign_blocks, 1u);
  EXPECT_EQ(reader->Stats().quarantined_blocks, 0u);
  EXPECT_THAT(DumpAll(*reader, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*reader, block).ok());
}

TEST_F(RedisStore, BelowFoldersLeavesTheBoundToThem) {
  const TemporaryFolder folder;
  config_.backend = "posix|redis";
  config_.storage_backends = {folder.path() + "/a"};
  config_.capacity_bytes = 3 * BlockAreas(kSmallLayout).file_bytes;
  const auto store = Open();
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    EXPECT_THAT(DumpAll(*store, SampleBlock(seed)).failures, IsEmpty());
    ASSERT_TRUE(store->Flush(Soon()).ok());
  }
  const StoreStats stats = store->Stats();
  ASSERT_THAT(stats.tiers, SizeIs(2));
  EXPECT_EQ(stats.tiers[0].blocks, 3u);
  EXPECT_EQ(stats.tiers[1].blocks, 6u);
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    EXPECT_TRUE(LoadAll(*store, SampleBlock(seed)).ok()) << seed;
  }
}

TEST_F(RedisStore, AStackDoesNotHideWhatItsLowestTierRefuses) {
  const TemporaryFolder folder;
  config_.storage_backends = {folder.path() + "/a"};
  const std::string key_file = folder.path() + "/key";
  std::ofstream(key_file) << std::string(64, '1');
  std::filesystem::permissions(key_file, std::filesystem::perms::owner_read);
  for (const char* backend : {"memory|redis", "posix|redis", "memory|posix|redis"}) {
    config_.backend = backend;
    config_.durability = Durability::kCommit;
    EXPECT_THAT(Refusal(), HasSubstr("none with redis as the lowest tier")) << backend;
    config_.durability = Durability::kNone;
    config_.encryption_key_file = key_file;
    EXPECT_THAT(Refusal(), HasSubstr("plain blocks")) << backend;
    config_.encryption_key_file.clear();
  }
  config_.backend = "memory|redis";
  config_.capacity_bytes = 1u << 30;
  EXPECT_THAT(Refusal(), HasSubstr("maxmemory"));
  // Above a tier that keeps the promises they are not redis's.
  config_.backend = "redis|posix";
  config_.durability = Durability::kCommit;
  EXPECT_EQ(Refusal(), "accepted");
}

TEST_F(RedisStore, LoadsManyPartsInPipelines) {
  BlockLayout layout = kSmallLayout;
  layout.num_slices = 64;
  layout.slice_bytes = 65536;
  const auto store = Open(layout);
  std::vector<SampleBlock> blocks;
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    blocks.emplace_back(seed, layout);
    EXPECT_THAT(DumpAll(*store, blocks.back()).failures, IsEmpty());
  }
  const AlignedBuffer buffer = MakeAligned(4 * 64 * 65536);
  std::vector<SliceRead> reads;
  for (std::uint32_t i = 0; i < 4 * 64; ++i) {
    reads.push_back({blocks[i % 4].id(), i / 4, buffer.get() + i * 65536});
  }
  const TaskResult result = Finish(*store, store->Load(reads));
  EXPECT_THAT(result.failures, IsEmpty());
  EXPECT_EQ(result.bytes, 4u * 64 * 65536);
  for (std::uint32_t i = 0; i < 4 * 64; ++i) {
    ASSERT_EQ(std::memcmp(buffer.get() + i * 65536, blocks[i % 4].slice(i / 4), 65536), 0) << i;
  }
}

TEST_F(RedisStore, RefusesWhatItCannotKeep) {
  config_.durability = Durability::kCommit;
  EXPECT_THAT(Refusal(), HasSubstr("appendfsync"));
  config_.durability = Durability::kNone;
  config_.encryption_key_file = "/key";
  EXPECT_THAT(Refusal(), HasSubstr("encryption_key_file"));
  config_.encryption_key_file.clear();
  config_.io_threads = 0;
  EXPECT_THAT(Refusal(), HasSubstr("io_threads: is 0"));
  config_.io_threads = 1;
  config_.timeout_ms = 0;
  EXPECT_THAT(Refusal(), HasSubstr("timeout_ms: is 0"));
  config_.timeout_ms = 1000;
  config_.redis_url = "redis://cache:port";
  EXPECT_THAT(Refusal(), HasSubstr("redis_url: port is \"port\""));
  config_.redis_url = "redis+unix:///nonexistent/redis.sock";
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("redis /nonexistent/redis.sock: connect:"),
                               HasSubstr("No such file")));
  config_.redis_url = "redis+unix:///" + std::string(200, 'x');
  EXPECT_THAT(Refusal(), HasSubstr("path of the socket has 201 bytes"));
  config_.redis_url = "redis://127.0.0.1:1";
  EXPECT_THAT(Refusal(), HasSubstr("redis 127.0.0.1:1: connect: Connection refused"));
  config_.redis_url = server_->url();
  EXPECT_EQ(Refusal(), "accepted");
}

TEST_F(RedisStore, AWrongPasswordIsSaidAtOnce) {
  StartServer({"--requirepass", "right"});
  EXPECT_THAT(Refusal(), HasSubstr("NOAUTH"));
  config_.redis_url = "redis+unix://:wrong@" + server_->socket_path();
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("AUTH: WRONGPASS"), Not(HasSubstr("wrong@"))));
  config_.redis_url = "redis+unix://:right@" + server_->socket_path();
  const auto store = Open();
  const SampleBlock block(1);
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

}  // namespace
}  // namespace esa::testing
