#include "store/recency.h"

#include <algorithm>
#include <chrono>

namespace esa {

std::int64_t RecencyClock::Take(std::int64_t count) {
  using std::chrono::microseconds;
  const std::int64_t now =
      std::chrono::duration_cast<microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  std::lock_guard lock(mutex_);
  last_us_ = std::max(now, last_us_ + count);
  return last_us_;
}

}  // namespace esa
