// A few threads that do a store's I/O, and the bound on the bytes of dumps under way.
//
// A job is either a call, or one request to the disk, of which each thread keeps many under way.
// Loads go first: a decode step waits for them, nobody for a dump while the queue has room.
// Threading: all methods from any thread; jobs run on the pool's threads.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "store/posix/io_queue.h"

namespace esa {

class IoPool {
 public:
  enum class Lane : std::size_t { kLoad, kDump, kPrefetch };

  struct Job {
    std::uint64_t tag = 0;    // what Drop names
    std::uint64_t bytes = 0;  // admitted for it; given back when it ends
    // Either `run`, or `prepare` and, if that says that there is a request to move, `finish` once
    // it has ended. A job that is not begun is dropped instead.
    std::function<void()> run = {};
    std::function<bool(IoRequest*)> prepare = {};
    std::function<void(IoRequest*)> finish = {};
    std::function<void()> drop;
  };

  using QueueFactory = std::function<std::unique_ptr<IoQueue>()>;

  // make_queue is called once on each thread, and may be null where all jobs are calls.
  IoPool(int threads, std::uint64_t queue_bytes, QueueFactory make_queue = nullptr);

  // Runs what is queued and joins the threads.
  ~IoPool();

  // As the destructor does.
  void Stop();

  // Blocks until `bytes` fit the bound beside what is admitted and not given back, or nothing is:
  // more than the bound goes alone. Callers are served one after the other. False: the deadline
  // came first, nothing is admitted.
  bool Admit(std::uint64_t bytes, std::chrono::steady_clock::time_point deadline =
                                      std::chrono::steady_clock::time_point::max());
  void GiveBack(std::uint64_t bytes);  // admitted, but no job was submitted for them

  void Submit(Lane lane, Job job);
  void Submit(Lane lane, std::vector<Job> jobs);  // which wakes each thread once

  std::size_t threads() const { return num_threads_; }

  // Takes the queued jobs of a tag out of the queue and drops them, on the caller's thread.
  void Drop(std::uint64_t tag);

 private:
  class Worker;
  bool Pop(Job* job);  // holds mutex_
  bool TryPop(Job* job);
  bool WaitPop(Job* job);  // false: stopped, and nothing is left to do

  const std::size_t num_threads_;
  const std::uint64_t queue_bytes_;
  const QueueFactory make_queue_;
  std::timed_mutex admission_;  // held by the one caller that waits for room
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable work_;
  bool stopping_ = false;                 // guarded by mutex_
  std::uint64_t admitted_bytes_ = 0;      // guarded by mutex_
  std::array<std::deque<Job>, 3> lanes_;  // guarded by mutex_; by Lane
  std::vector<std::thread> threads_;      // last: they use all of the above
};

}  // namespace esa
