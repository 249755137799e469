// The redis store against a server that dies, hangs, fills up and evicts: every fault is a clear
// error or a miss, and ends in time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "store/testing/redis_fixture.h"

namespace esa::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using RedisStoreFaults = RedisStoreTest;

TEST_F(RedisStoreFaults, FindsAServerThatRestarted) {
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

TEST_F(RedisStoreFaults, ARestartBetweenTwoLoadsIsNotNoticed) {
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

TEST_F(RedisStoreFaults, AServerKilledAmidADumpFailsIt) {
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

TEST_F(RedisStoreFaults, ABlockEvictedWhileItIsWrittenIsNotCommitted) {
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

TEST_F(RedisStoreFaults, AFullServerIsSaid) {
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

TEST_F(RedisStoreFaults, AReadOnlyServerIsSaid) {
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

TEST_F(RedisStoreFaults, EvictionByTheServerIsAMiss) {
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

TEST_F(RedisStoreFaults, AServerThatHangsHangsNobody) {
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

TEST_F(RedisStoreFaults, EndsWhileTheServerHangs) {
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

TEST_F(RedisStoreFaults, OpeningDoesNotWaitForAServerThatIsSilent) {
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

TEST_F(RedisStoreFaults, AServerReplacedByASilentOneHangsNobody) {
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

}  // namespace
}  // namespace esa::testing
