// The connections of a store to its Redis server: each is lent to one user at a time and kept for
// the next one.
//
// A server that cannot be reached is not asked again before a pause, which grows with every failure
// from 100 ms to 5 s: calls in between fail at once with the last error instead of waiting each.
// Threading: all methods from any thread; a Lease belongs to one.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "esa/result.h"
#include "store/redis/alarm.h"
#include "store/redis/connection.h"
#include "store/redis/url.h"

namespace esa {

class ConnectionPool {
 public:
  using Deadline = BlockStore::Deadline;

  class Lease {
   public:
    Lease(ConnectionPool* pool, std::unique_ptr<RedisConnection> connection)
        : pool_(pool), connection_(std::move(connection)) {}
    Lease(Lease&&) = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (connection_) pool_->GiveBack(std::move(connection_));
    }
    RedisConnection& operator*() const { return *connection_; }
    RedisConnection* operator->() const { return connection_.get(); }

   private:
    ConnectionPool* pool_;
    std::unique_ptr<RedisConnection> connection_;
  };

  // At most `max_idle` connections are kept while nobody uses them.
  ConnectionPool(RedisUrl url, std::size_t max_idle) : url_(std::move(url)), max_idle_(max_idle) {}

  // A connection whose calls end by the deadline. Errors: those of RedisConnection::Open.
  Result<Lease> Take(Deadline deadline);

  // Ends all calls under way and to come with kCancelled.
  void Interrupt() { alarm_.Ring(); }

  const RedisUrl& url() const { return url_; }

 private:
  std::unique_ptr<RedisConnection> TakeIdle();
  std::optional<Error> Pause() const;
  void CountFailure(const Error& error);
  void GiveBack(std::unique_ptr<RedisConnection> connection);

  const RedisUrl url_;
  const std::size_t max_idle_;
  Alarm alarm_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<RedisConnection>> idle_;  // guarded by mutex_
  std::chrono::milliseconds pause_{0};                  // guarded by mutex_; 0: no failure
  Deadline paused_until_{};                             // guarded by mutex_
  std::optional<Error> last_failure_;                   // guarded by mutex_
};

}  // namespace esa
