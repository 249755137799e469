#include "store/testing/redis_server.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <thread>
#include <utility>

#include "base/check.h"

namespace esa::testing {
namespace {

using std::chrono::milliseconds;

std::string FindProgram() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string program = folder + "/redis-server";
    if (access(program.c_str(), X_OK) == 0) return program;
  }
  return "";
}

BlockStore::Deadline In(milliseconds time) { return std::chrono::steady_clock::now() + time; }

}  // namespace

bool RedisServer::Installed() { return !FindProgram().empty(); }

RedisServer::RedisServer(std::vector<std::string> options) : options_(std::move(options)) {
  Start();
}

void RedisServer::Start() {
  std::vector<std::string> words = {FindProgram(),
                                    "--port",
                                    "0",
                                    "--unixsocket",
                                    socket_path(),
                                    "--save",
                                    "",
                                    "--appendonly",
                                    "no",
                                    "--dir",
                                    folder_.path(),
                                    "--logfile",
                                    folder_.path() + "/log"};
  words.insert(words.end(), options_.begin(), options_.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  process_ = fork();
  ESA_CHECK(process_ >= 0);
  if (process_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  const auto deadline = In(milliseconds(20000));
  const RedisUrl url{.socket_path = socket_path()};
  for (;;) {
    const auto connection = RedisConnection::Open(url, nullptr, deadline);
    // A server with a password answers as well, by asking for it.
    if (connection || connection.error().message.find("NOAUTH") != std::string::npos) return;
    ESA_CHECK(std::chrono::steady_clock::now() < deadline);
    ESA_CHECK(waitpid(process_, nullptr, WNOHANG) == 0);
    std::this_thread::sleep_for(milliseconds(2));
  }
}

void RedisServer::Kill() {
  if (process_ < 0) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  process_ = -1;
  unlink(socket_path().c_str());
}

void RedisServer::Pause() { ESA_CHECK(kill(process_, SIGSTOP) == 0); }

void RedisServer::Resume() { ESA_CHECK(kill(process_, SIGCONT) == 0); }

std::unique_ptr<RedisConnection> RedisServer::Connect() {
  auto connection =
      RedisConnection::Open({.socket_path = socket_path()}, nullptr, In(milliseconds(20000)));
  ESA_CHECK(connection.ok());
  return *std::move(connection);
}

Status RedisServer::Do(std::initializer_list<std::string_view> command) {
  const auto connection = Connect();
  connection->Append(command);
  ESA_CHECK(connection->Send().ok());
  return connection->ReadStatus();
}

std::string RedisServer::Get(std::string_view key) {
  const auto connection = Connect();
  connection->Append({"GET", key});
  ESA_CHECK(connection->Send().ok());
  auto value = connection->ReadBulk();
  ESA_CHECK(value.ok());
  return *std::move(value);
}

std::int64_t RedisServer::Integer(std::initializer_list<std::string_view> command) {
  const auto connection = Connect();
  connection->Append(command);
  ESA_CHECK(connection->Send().ok());
  const auto value = connection->ReadInteger();
  ESA_CHECK(value.ok());
  return *value;
}

std::vector<std::string> RedisServer::Keys(std::string_view pattern) {
  const auto connection = Connect();
  connection->Append({"KEYS", pattern});
  ESA_CHECK(connection->Send().ok());
  const auto replies = connection->ReadArray();
  ESA_CHECK(replies.ok());
  std::vector<std::string> keys;
  for (const RedisReply& reply : *replies) keys.push_back(reply.text);
  std::ranges::sort(keys);
  return keys;
}

}  // namespace esa::testing
