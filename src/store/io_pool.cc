#include "store/io_pool.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace esa {

IoPool::IoPool(int threads, std::uint64_t queue_bytes) : queue_bytes_(queue_bytes) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this](std::stop_token stop) { Work(stop); });
  }
}

IoPool::~IoPool() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
}

void IoPool::Admit(std::uint64_t bytes) {
  std::lock_guard turn(admission_);
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] { return admitted_bytes_ == 0 || admitted_bytes_ + bytes <= queue_bytes_; });
  admitted_bytes_ += bytes;
}

void IoPool::Submit(Lane lane, Job job) {
  {
    std::lock_guard lock(mutex_);
    lanes_[static_cast<std::size_t>(lane)].push_back(std::move(job));
  }
  work_.notify_one();
}

void IoPool::Drop(std::uint64_t tag) {
  std::vector<Job> dropped;
  {
    std::lock_guard lock(mutex_);
    for (std::deque<Job>& lane : lanes_) {
      const auto first = std::stable_partition(lane.begin(), lane.end(),
                                               [&](const Job& job) { return job.tag != tag; });
      std::move(first, lane.end(), std::back_inserter(dropped));
      lane.erase(first, lane.end());
    }
  }
  for (Job& job : dropped) {
    job.drop();
    GiveBack(job.bytes);
  }
}

bool IoPool::Pop(Job* job) {
  for (std::deque<Job>& lane : lanes_) {
    if (lane.empty()) continue;
    *job = std::move(lane.front());
    lane.pop_front();
    return true;
  }
  return false;
}

void IoPool::GiveBack(std::uint64_t bytes) {
  if (bytes == 0) return;
  {
    std::lock_guard lock(mutex_);
    admitted_bytes_ -= bytes;
  }
  room_.notify_all();
}

void IoPool::Work(std::stop_token stop) {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      bool found = false;
      work_.wait(lock, stop, [&] { return found = Pop(&job); });
      if (!found) return;
    }
    job.run();
    GiveBack(job.bytes);
  }
}

}  // namespace esa
