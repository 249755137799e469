// A few threads that do a store's I/O, and the bound on the bytes of dumps under way.
//
// Loads go first: a decode step waits for them, nobody for a dump while the queue has room.
// Threading: all methods from any thread; jobs run on the pool's threads.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

namespace esa {

class IoPool {
 public:
  enum class Lane : std::size_t { kLoad, kDump, kPrefetch };

  struct Job {
    std::uint64_t tag = 0;      // what Drop names
    std::uint64_t bytes = 0;    // admitted for it; given back when it ends
    std::function<void()> run;  // one of the two is called, once
    std::function<void()> drop;
  };

  IoPool(int threads, std::uint64_t queue_bytes);
  ~IoPool();  // runs what is queued, joins the threads

  // Blocks until `bytes` fit the bound beside what is admitted and not given back, or nothing is:
  // more than the bound goes alone. Callers are served one after the other.
  void Admit(std::uint64_t bytes);

  void Submit(Lane lane, Job job);

  // Takes the queued jobs of a tag out of the queue and drops them, on the caller's thread.
  void Drop(std::uint64_t tag);

 private:
  void Work(std::stop_token stop);
  bool Pop(Job* job);  // holds mutex_
  void GiveBack(std::uint64_t bytes);

  const std::uint64_t queue_bytes_;
  std::mutex admission_;  // held by the one caller that waits for room
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable_any work_;
  std::uint64_t admitted_bytes_ = 0;      // guarded by mutex_
  std::array<std::deque<Job>, 3> lanes_;  // guarded by mutex_; by Lane
  std::vector<std::jthread> threads_;     // last: they use all of the above
};

}  // namespace esa
