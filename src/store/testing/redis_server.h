// A Redis server of the test's own: Debian's redis-server on a Unix socket in a temporary folder,
// which keeps nothing on disk. It dies with this object, and with the test.
//
// Not thread-safe.
#pragma once

#include <sys/types.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "store/redis/connection.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {

class RedisServer {
 public:
  static bool Installed();  // is there a redis-server on the PATH

  // options: more arguments of redis-server, such as {"--requirepass", "secret"}
  explicit RedisServer(std::vector<std::string> options = {});
  ~RedisServer() { Kill(); }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  void Start();   // returns when it answers; after Kill it is empty
  void Kill();    // SIGKILL
  void Pause();   // SIGSTOP: accepts connections, answers nothing
  void Resume();  // SIGCONT

  std::string socket_path() const { return folder_.path() + "/redis.sock"; }
  std::string url() const { return "redis+unix://" + socket_path(); }

  // Raw commands, past any store, by the kind of their reply.
  Status Do(std::initializer_list<std::string_view> command);
  std::string Get(std::string_view key);
  std::int64_t Integer(std::initializer_list<std::string_view> command);
  std::vector<std::string> Keys(std::string_view pattern);

 private:
  std::unique_ptr<RedisConnection> Connect();

  TemporaryFolder folder_;
  const std::vector<std::string> options_;
  pid_t process_ = -1;
};

}  // namespace esa::testing
