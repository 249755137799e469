// The redis store against a real server that dies, hangs, fills up and is tampered with: every
// fault is a clear error or a miss, ends in time, and nothing wrong is served.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "store/posix/block_format.h"
#include "store/testing/redis_server.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class RedisStore : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Installed()) GTEST_SKIP() << "there is no redis-server on the PATH";
    StartServer({});
  }

  void StartServer(std::vector<std::string> options) {
    server_ = std::make_unique<RedisServer>(std::move(options));
    config_.backend = "redis";
    config_.redis_url = server_->url();
    config_.timeout_ms = 20000;
  }

  std::unique_ptr<BlockStore> Open(const BlockLayout& layout = kSmallLayout) const {
    auto store = CreateBlockStore(config_, layout);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return *std::move(store);
  }

  std::string Refusal() const {
    const auto store = CreateBlockStore(config_, kSmallLayout);
    return store.ok() ? "accepted" : store.error().message;
  }

  // The key of the one block that is stored.
  std::string OnlyKey() {
    const auto keys = server_->Keys("esa:b:*");
    EXPECT_THAT(keys, SizeIs(1));
    return keys.empty() ? "" : keys[0];
  }

  // Loads until one succeeds: the pause after a failure must pass.
  static bool LoadsSoon(BlockStore& store, const SampleBlock& block) {
    const auto deadline = steady_clock::now() + std::chrono::seconds(20);
    while (steady_clock::now() < deadline) {
      if (LoadAll(store, block).ok()) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }

  static bool DumpsSoon(BlockStore& store, const SampleBlock& block) {
    const auto deadline = steady_clock::now() + std::chrono::seconds(20);
    while (steady_clock::now() < deadline) {
      const Result<bool> begun = store.Begin(block.key(), {});
      if (begun.ok()) return Finish(store, store.Dump(block.Writes())).failures.empty();
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }

  std::unique_ptr<RedisServer> server_;
  StoreConfig config_;
};

bool FailsWith(const Status& status, ErrorCode code) {
  return !status.ok() && status.error().code == code;
}

milliseconds Since(steady_clock::time_point start) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
}

TEST_F(RedisStore, KeepsABlockAsTheBytesOfABlockFile) {
  const auto store = Open();
  const SampleBlock parent(7), block(1, kSmallLayout, parent.id());
  DumpAll(*store, block);
  const std::string key = OnlyKey();
  EXPECT_THAT(key, HasSubstr(":" + block.id().Hex()));
  const std::string value = server_->Get(key);
  const BlockAreas areas(kSmallLayout);
  ASSERT_EQ(value.size(), areas.file_bytes);
  const auto head = DecodeHead(std::as_bytes(std::span(value)), kSmallLayout, block.id());
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
        std::uint64_t{kIdAt} + 3, std::uint64_t{kTokensAt} + 1, areas.table + 9, areas.head_sum,
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

TEST_F(RedisStore, FindsAServerThatRestarted) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  EXPECT_TRUE(LoadAll(*store, block).ok());
  server_->Kill();
  const Status away = LoadPart(*store, block, 0);
  ASSERT_FALSE(away.ok());
  EXPECT_EQ(away.error().code, ErrorCode::kIoError);
  EXPECT_THAT(away.error().message, HasSubstr(server_->socket_path()));
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_EQ(store->Begin(block.key(), {}).error().code, ErrorCode::kIoError);
  EXPECT_TRUE(FailsWith(store->Remove(block.id()), ErrorCode::kIoError));
  EXPECT_EQ(store->Stats().load_failures, 1u);
  server_->Start();  // empty
  EXPECT_TRUE(DumpsSoon(*store, block));
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(RedisStore, ARestartBetweenTwoLoadsIsNotNoticed) {
  const auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  const std::string key = OnlyKey();
  const std::string value = server_->Get(key);
  EXPECT_TRUE(LoadAll(*store, block).ok());
  server_->Kill();
  server_->Start();
  ASSERT_TRUE(server_->Do({"SET", key, value}).ok());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(RedisStore, AServerKilledAmidADumpFailsIt) {
  const auto store = Open();
  const SampleBlock block(1);
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  EXPECT_THAT(Finish(*store, store->Dump({block.Write(0), block.Write(1)})).failures, IsEmpty());
  server_->Kill();
  EXPECT_THAT(Finish(*store, store->Dump({block.Write(2)})).failures, SizeIs(1));
  server_->Start();  // has forgotten the first slices
  std::this_thread::sleep_for(milliseconds(120));
  const auto rest = Finish(*store, store->Dump({block.Write(3), block.Write(4), block.Write(5)}));
  EXPECT_THAT(rest.failures, SizeIs(3));
  EXPECT_FALSE(Hit(*store, block));
  store->Abandon(block.id());
  EXPECT_TRUE(DumpsSoon(*store, block));
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(RedisStore, ABlockEvictedWhileItIsWrittenIsNotCommitted) {
  const auto store = Open();
  const SampleBlock block(1);
  ASSERT_TRUE(*store->Begin(block.key(), {}));
  Finish(*store, store->Dump({block.Write(0), block.Write(1), block.Write(2)}));
  const auto keys = server_->Keys("esa:t:*");
  ASSERT_THAT(keys, SizeIs(1));
  ASSERT_EQ(server_->Integer({"DEL", keys[0]}), 1);
  const auto rest = Finish(*store, store->Dump({block.Write(3), block.Write(4), block.Write(5)}));
  ASSERT_FALSE(rest.failures.empty());
  EXPECT_THAT(rest.failures.back().error.message, HasSubstr("evicted"));
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_THAT(server_->Keys("esa:b:*"), IsEmpty());
  store->Abandon(block.id());
  EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, block).ok());
}

TEST_F(RedisStore, AFullServerIsSaid) {
  const auto store = Open();
  const SampleBlock block(1), late(2), open(3);
  DumpAll(*store, block);
  ASSERT_TRUE(*store->Begin(open.key(), {}));
  ASSERT_TRUE(server_->Do({"CONFIG", "SET", "maxmemory", "1mb"}).ok());
  const auto begun = store->Begin(late.key(), {});
  ASSERT_FALSE(begun.ok());
  EXPECT_EQ(begun.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(begun.error().message, HasSubstr("OOM command not allowed"));
  const auto dumped = Finish(*store, store->Dump(open.Writes()));
  ASSERT_THAT(dumped.failures, SizeIs(6));
  EXPECT_EQ(dumped.failures[0].error.code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(dumped.failures[0].error.message, HasSubstr("OOM command not allowed"));
  EXPECT_EQ(store->Stats().dump_failures, 6u);
  EXPECT_TRUE(LoadAll(*store, block).ok());
  store->Abandon(open.id());
  ASSERT_TRUE(server_->Do({"CONFIG", "SET", "maxmemory", "0"}).ok());
  EXPECT_THAT(DumpAll(*store, open).failures, IsEmpty());
  EXPECT_TRUE(LoadAll(*store, open).ok());
}

TEST_F(RedisStore, AReadOnlyServerIsSaid) {
  const auto store = Open();
  const SampleBlock block(1), open(2);
  DumpAll(*store, block);
  ASSERT_TRUE(*store->Begin(open.key(), {}));
  ASSERT_TRUE(server_->Do({"CONFIG", "SET", "replica-serve-stale-data", "yes"}).ok());
  ASSERT_TRUE(server_->Do({"REPLICAOF", "127.0.0.1", "1"}).ok());
  const auto dumped = Finish(*store, store->Dump(open.Writes()));
  ASSERT_FALSE(dumped.failures.empty());
  EXPECT_THAT(dumped.failures[0].error.message, HasSubstr("READONLY"));
  EXPECT_TRUE(LoadAll(*store, block).ok());
  ASSERT_TRUE(server_->Do({"REPLICAOF", "NO", "ONE"}).ok());
  store->Abandon(open.id());
  EXPECT_THAT(DumpAll(*store, open).failures, IsEmpty());
}

TEST_F(RedisStore, EvictionByTheServerIsAMiss) {
  const auto store = Open();
  DumpAll(*store, SampleBlock(1));
  ASSERT_TRUE(server_->Do({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"}).ok());
  ASSERT_TRUE(server_->Do({"CONFIG", "SET", "maxmemory", "3mb"}).ok());
  for (std::uint32_t seed = 2; seed <= 60; ++seed) {
    const SampleBlock block(seed);
    // Within one second all keys are equally old to the server, also one that is being written.
    for (const PartFailure& failure : DumpAll(*store, block).failures) {
      EXPECT_THAT(failure.error.message, HasSubstr("evicted"));
    }
    store->Abandon(block.id());
  }
  const std::uint64_t blocks = store->Stats().blocks;
  EXPECT_LT(blocks, 60u);
  std::uint64_t hits = 0;
  for (std::uint32_t seed = 1; seed <= 60; ++seed) {
    const SampleBlock block(seed);
    const Status loaded = LoadAll(*store, block);
    if (!loaded) {
      EXPECT_EQ(loaded.error().code, ErrorCode::kNotFound) << loaded.error().message;
    }
    hits += Hit(*store, block) ? 1 : 0;
  }
  EXPECT_GT(hits, 0u);
  EXPECT_LE(hits, blocks);
  EXPECT_EQ(store->Stats().quarantined_blocks, 0u);
}

TEST_F(RedisStore, AServerThatHangsHangsNobody) {
  config_.timeout_ms = 300;
  auto store = Open();
  const SampleBlock block(1), open(2);
  DumpAll(*store, block);
  ASSERT_TRUE(*store->Begin(open.key(), {}));
  server_->Pause();
  const AlignedBuffer buffer = MakeAligned(4096);
  const auto start = steady_clock::now();
  const TaskId load = *store->Load({{block.id(), 0, buffer.get()}});
  const TaskId dump = *store->Dump(open.Writes());
  EXPECT_EQ(store->Wait(load, start + milliseconds(50)).error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_LT(Since(start), milliseconds(250));
  const auto loaded = store->Wait(load, Soon());
  ASSERT_TRUE(loaded.ok());
  ASSERT_THAT(loaded->failures, SizeIs(1));
  EXPECT_EQ(loaded->failures[0].error.code, ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(Finish(*store, dump).failures, SizeIs(6));
  EXPECT_FALSE(Hit(*store, block));
  EXPECT_LT(Since(start), milliseconds(3000));
  server_->Resume();
  EXPECT_TRUE(LoadsSoon(*store, block));
  store->Abandon(open.id());
  EXPECT_TRUE(DumpsSoon(*store, open));
  EXPECT_TRUE(LoadAll(*store, open).ok());
}

TEST_F(RedisStore, EndsWhileTheServerHangs) {
  auto store = Open();  // whose commands may take 20 s
  const SampleBlock block(1), open(2);
  DumpAll(*store, block);
  ASSERT_TRUE(*store->Begin(open.key(), {}));
  server_->Pause();
  const AlignedBuffer buffer = MakeAligned(8 * 4096);
  for (std::uint32_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(store->Load({{block.id(), i, buffer.get() + i * 4096}}).ok());
  }
  ASSERT_TRUE(store->Dump(open.Writes()).ok());
  std::this_thread::sleep_for(milliseconds(100));  // jobs wait for the server by now
  const auto start = steady_clock::now();
  store.reset();
  EXPECT_LT(Since(start), milliseconds(5000));
  server_->Resume();
}

// Accepts and never answers.
class SilentListener {
 public:
  explicit SilentListener(const std::string& path) : descriptor_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(descriptor_, 16), 0);
  }
  ~SilentListener() { close(descriptor_); }
  SilentListener(const SilentListener&) = delete;
  SilentListener& operator=(const SilentListener&) = delete;

 private:
  const int descriptor_;
};

TEST_F(RedisStore, OpeningDoesNotWaitForAServerThatIsSilent) {
  const TemporaryFolder folder;
  const SilentListener silent(folder.path() + "/socket");
  config_.redis_url = "redis+unix://" + folder.path() + "/socket";
  config_.timeout_ms = 100;
  const auto start = steady_clock::now();
  const auto store = CreateBlockStore(config_, kSmallLayout);
  EXPECT_LT(Since(start), milliseconds(2000));
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(store.error().message, HasSubstr("no answer within the time limit"));
}

TEST_F(RedisStore, AServerReplacedByASilentOneHangsNobody) {
  config_.timeout_ms = 200;
  auto store = Open();
  const SampleBlock block(1);
  DumpAll(*store, block);
  server_->Kill();
  const SilentListener silent(server_->socket_path());
  const auto start = steady_clock::now();
  EXPECT_TRUE(FailsWith(LoadPart(*store, block, 0), ErrorCode::kDeadlineExceeded));
  const Status next = LoadPart(*store, block, 0);
  ASSERT_FALSE(next.ok());
  EXPECT_THAT(next.error().message, HasSubstr("is not asked again for"));
  EXPECT_FALSE(Hit(*store, block));
  store.reset();
  EXPECT_LT(Since(start), milliseconds(3000));
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

}  // namespace
}  // namespace esa::testing
