#include "store/redis/connection_pool.h"

#include <algorithm>
#include <string>
#include <utility>

namespace esa {
namespace {

using std::chrono::milliseconds;

// Long enough that a server that is away costs nothing, short enough that one that restarts (some
// seconds) is found again soon.
constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{5000};

}  // namespace

std::unique_ptr<RedisConnection> ConnectionPool::TakeIdle() {
  std::lock_guard lock(mutex_);
  while (!idle_.empty()) {
    std::unique_ptr<RedisConnection> connection = std::move(idle_.back());
    idle_.pop_back();
    // Closed meanwhile when the server has restarted: its other connections tell soon, too.
    if (connection->IsIdle()) return connection;
  }
  return nullptr;
}

std::optional<Error> ConnectionPool::Pause() const {
  std::lock_guard lock(mutex_);
  const auto left = paused_until_ - std::chrono::steady_clock::now();
  if (!last_failure_ || left <= milliseconds(0)) return std::nullopt;
  const auto left_ms = std::chrono::ceil<milliseconds>(left).count();
  return Error{last_failure_->code, last_failure_->message + " (is not asked again for " +
                                        std::to_string(left_ms) + " ms)"};
}

void ConnectionPool::CountFailure(const Error& error) {
  std::lock_guard lock(mutex_);
  pause_ = std::clamp(pause_ * 2, kFirstPause, kLongestPause);
  paused_until_ = std::chrono::steady_clock::now() + pause_;
  last_failure_ = error;
}

Result<ConnectionPool::Lease> ConnectionPool::Take(Deadline deadline) {
  std::unique_ptr<RedisConnection> connection = TakeIdle();
  if (!connection) {
    if (auto paused = Pause()) return *std::move(paused);
    auto opened = RedisConnection::Open(url_, &alarm_, deadline);
    if (!opened) {
      CountFailure(opened.error());
      return opened.error();
    }
    connection = *std::move(opened);
    std::lock_guard lock(mutex_);
    pause_ = milliseconds(0);
    last_failure_.reset();
  }
  connection->SetDeadline(deadline);
  return Lease(this, std::move(connection));
}

void ConnectionPool::GiveBack(std::unique_ptr<RedisConnection> connection) {
  if (!connection->IsIdle()) return;
  std::lock_guard lock(mutex_);
  if (idle_.size() < max_idle_) idle_.push_back(std::move(connection));
}

}  // namespace esa
