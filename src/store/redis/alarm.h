// What ends every wait on the sockets that it knows, now and later, once it is rung.
//
// Threading: all methods from any thread.
#pragma once

#include <mutex>
#include <unordered_set>

namespace esa {

class Alarm {
 public:
  void Ring();
  bool rung() const;

  void Add(int socket);     // shut down at once if the alarm has been rung
  void Remove(int socket);  // before it is closed

 private:
  mutable std::mutex mutex_;
  bool rung_ = false;                // guarded by mutex_
  std::unordered_set<int> sockets_;  // guarded by mutex_
};

}  // namespace esa
