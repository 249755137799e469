// What a connection adds to hiredis: a deadline over all of a reply, an alarm, and a process that
// outlives a server that closes.
#include "store/redis/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;

// Accepts one connection, answers its greeting, and then does as told.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::function<void(int socket)> script)
      : listener_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, url().socket_path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    thread_ = std::jthread([this, script = std::move(script)] {
      const int peer = accept(listener_, nullptr, nullptr);
      char greeting[64];
      (void)recv(peer, greeting, sizeof(greeting), 0);
      Say(peer, "+PONG\r\n");
      script(peer);
      close(peer);
    });
  }
  ~ScriptedServer() {
    thread_.join();
    close(listener_);
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  static bool Say(int peer, std::string_view text) {
    return send(peer, text.data(), text.size(), MSG_NOSIGNAL) >= 0;
  }
  static void AwaitClose(int peer) {
    char byte = 0;
    while (recv(peer, &byte, 1, 0) > 0) continue;
  }

  RedisUrl url() const { return {.socket_path = folder_.path() + "/socket"}; }

 private:
  TemporaryFolder folder_;
  const int listener_;
  std::jthread thread_;
};

TEST(RedisConnection, WritingToAServerThatClosedIsAnError) {
  const ScriptedServer server([](int) {});
  auto connection = *RedisConnection::Open(server.url(), nullptr, Soon());
  Status sent;
  for (const auto end = Soon(); sent.ok() && steady_clock::now() < end;) {
    connection->Append({"PING"});
    sent = connection->Send();
  }
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, ErrorCode::kIoError);
  EXPECT_THAT(sent.error().message, HasSubstr("Broken pipe"));
  EXPECT_FALSE(connection->IsIdle());
  connection->Append({"PING"});
  EXPECT_EQ(connection->ReadStatus().error().message, sent.error().message);
}

TEST(RedisConnection, TheDeadlineIsOfAllOfAReply) {
  const ScriptedServer server([](int peer) {
    ScriptedServer::Say(peer, "$1000000\r\n");
    while (ScriptedServer::Say(peer, "x")) std::this_thread::sleep_for(milliseconds(20));
  });
  auto connection = *RedisConnection::Open(server.url(), nullptr, Soon());
  const auto start = steady_clock::now();
  connection->SetDeadline(start + milliseconds(200));
  connection->Append({"GET", "x"});
  ASSERT_TRUE(connection->Send().ok());
  const auto reply = connection->ReadBulk();
  EXPECT_LT(steady_clock::now() - start, milliseconds(3000));
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, ErrorCode::kDeadlineExceeded);
}

TEST(RedisConnection, TheDeadlineIsOfSendingToo) {
  const ScriptedServer server([](int peer) {
    std::this_thread::sleep_for(milliseconds(400));
    ScriptedServer::AwaitClose(peer);
  });
  auto connection = *RedisConnection::Open(server.url(), nullptr, Soon());
  connection->SetDeadline(steady_clock::now() + milliseconds(100));
  connection->Append({"SET", "x", std::string(4u << 20, 'x')});  // more than a socket buffers
  const Status sent = connection->Send();
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, ErrorCode::kDeadlineExceeded);
}

TEST(RedisConnection, TheAlarmEndsAWaitAndThoseToCome) {
  Alarm alarm;
  const ScriptedServer server(ScriptedServer::AwaitClose);
  auto connection = *RedisConnection::Open(server.url(), &alarm, Soon());
  connection->Append({"PING"});
  ASSERT_TRUE(connection->Send().ok());
  const std::jthread ringer([&] {
    std::this_thread::sleep_for(milliseconds(30));
    alarm.Ring();
  });
  const auto start = steady_clock::now();
  EXPECT_EQ(connection->ReadStatus().error().code, ErrorCode::kCancelled);
  EXPECT_LT(steady_clock::now() - start, milliseconds(3000));
  const ScriptedServer next([](int) {});
  const auto late = RedisConnection::Open(next.url(), &alarm, Soon());
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, ErrorCode::kCancelled);
}

TEST(RedisConnection, WhatTheProtocolDoesNotAllowBreaksIt) {
  const ScriptedServer server([](int peer) {
    ScriptedServer::Say(peer, "$3\r\nabc\r\n:7\r\n");
    ScriptedServer::AwaitClose(peer);
  });
  auto connection = *RedisConnection::Open(server.url(), nullptr, Soon());
  connection->Append({"GET", "x"});
  connection->Append({"GET", "y"});
  ASSERT_TRUE(connection->Send().ok());
  std::byte two[2];
  const auto reply = connection->ReadBulkInto(two);
  ASSERT_FALSE(reply.ok());
  EXPECT_THAT(reply.error().message, HasSubstr("GET: the server replied with a string of 3 bytes"));
  EXPECT_EQ(connection->ReadInteger().error().message, reply.error().message);
  EXPECT_FALSE(connection->IsIdle());
}

}  // namespace
}  // namespace esa::testing
