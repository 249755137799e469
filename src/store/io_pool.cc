#include "store/io_pool.h"

#include <algorithm>
#include <iterator>
#include <list>
#include <utility>

#include "base/check.h"

namespace esa {
namespace {

// How long a thread with requests under way leaves new jobs unseen.
constexpr std::chrono::milliseconds kPatience{5};

}  // namespace

// What one thread does: keeps its queue to the disk full.
class IoPool::Worker {
 public:
  explicit Worker(IoPool* pool) : pool_(pool) {
    if (pool->make_queue_) queue_ = pool->make_queue_();
  }

  void Work() {
    Job job;
    while (!running_.empty() || pool_->WaitPop(&job)) {
      if (job.drop) Begin(std::exchange(job, {}));
      Refill();
      if (!running_.empty()) EndOne();
    }
  }

 private:
  struct Running {
    Job job;
    IoRequest request;
  };

  bool HasRoom() const { return queue_ != nullptr && queue_->HasRoom(); }

  void Refill() {
    Job job;
    bool any = false;
    while (HasRoom() && pool_->TryPop(&job)) {
      Begin(std::exchange(job, {}));
      any = true;
    }
    if (any) queue_->Submit();
  }

  void Begin(Job job) {
    if (job.run) {
      job.run();
      return pool_->GiveBack(job.bytes);
    }
    ESA_CHECK(queue_ != nullptr);
    running_.push_back({std::move(job), {}});
    Running& running = running_.back();
    if (running.job.prepare(&running.request)) return queue_->Start(&running.request);
    pool_->GiveBack(running.job.bytes);
    running_.pop_back();
  }

  void EndOne() {
    IoRequest* request = queue_->Next(kPatience);
    if (request == nullptr) return;
    const auto ended = std::ranges::find_if(
        running_, [&](const Running& running) { return &running.request == request; });
    ESA_CHECK(ended != running_.end());
    Refill();  // before the checksum: the disk has a place free
    ended->job.finish(request);
    pool_->GiveBack(ended->job.bytes);
    running_.erase(ended);
  }

  IoPool* const pool_;
  std::unique_ptr<IoQueue> queue_;
  std::list<Running> running_;  // a list, since requests must not move
};

IoPool::IoPool(int threads, std::uint64_t queue_bytes, QueueFactory make_queue)
    : num_threads_(static_cast<std::size_t>(threads)),
      queue_bytes_(queue_bytes),
      make_queue_(std::move(make_queue)) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Worker(this).Work(); });
  }
}

IoPool::~IoPool() { Stop(); }

void IoPool::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool IoPool::Admit(std::uint64_t bytes, std::chrono::steady_clock::time_point deadline) {
  std::unique_lock turn(admission_, std::defer_lock);
  const auto fits = [&] { return admitted_bytes_ == 0 || admitted_bytes_ + bytes <= queue_bytes_; };
  if (deadline == std::chrono::steady_clock::time_point::max()) {
    turn.lock();
    std::unique_lock lock(mutex_);
    room_.wait(lock, fits);
    admitted_bytes_ += bytes;
    return true;
  }
  if (!turn.try_lock_until(deadline)) return false;
  std::unique_lock lock(mutex_);
  if (!room_.wait_until(lock, deadline, fits)) return false;
  admitted_bytes_ += bytes;
  return true;
}

void IoPool::Submit(Lane lane, Job job) {
  {
    std::lock_guard lock(mutex_);
    lanes_[static_cast<std::size_t>(lane)].push_back(std::move(job));
  }
  work_.notify_one();
}

void IoPool::Submit(Lane lane, std::vector<Job> jobs) {
  {
    std::lock_guard lock(mutex_);
    std::ranges::move(jobs, std::back_inserter(lanes_[static_cast<std::size_t>(lane)]));
  }
  if (jobs.size() >= num_threads_) return work_.notify_all();
  for (std::size_t i = 0; i < jobs.size(); ++i) work_.notify_one();
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

bool IoPool::TryPop(Job* job) {
  std::lock_guard lock(mutex_);
  return Pop(job);
}

bool IoPool::WaitPop(Job* job) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (Pop(job)) return true;
    if (stopping_) return false;
    work_.wait(lock);
  }
}

void IoPool::GiveBack(std::uint64_t bytes) {
  if (bytes == 0) return;
  {
    std::lock_guard lock(mutex_);
    admitted_bytes_ -= bytes;
  }
  room_.notify_all();
}

}  // namespace esa
