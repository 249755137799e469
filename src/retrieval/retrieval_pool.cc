#include "retrieval/retrieval_pool.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "ops/retrieval_kernels.h"
#include "retrieval/block_scores.h"

namespace esa {
namespace {

struct Job {
  RetrievalTicket ticket = 0;  // 0: free
  RetrievalRequest request;
  RepresentationView view;
  bool begun = false;
  bool done = false;
  std::vector<float> scores;  // [num_scores, candidates]
  std::vector<std::vector<BlockIndex>> lists;
  TopKScratch scratch;
};

// The best score of the rows that a list is chosen by, into the first of them.
std::span<float> BestOf(const ScoreRows& scores, int first, int count) {
  const std::span<float> best = scores.row(first);
  for (int r = first + 1; r < first + count; ++r) {
    const std::span<const float> row = scores.row(r);
    for (std::size_t i = 0; i < best.size(); ++i) best[i] = std::max(best[i], row[i]);
  }
  return best;
}

void Choose(Job& job, const ScoreRows& scores) {
  const RetrievalRequest& request = job.request;
  if (request.chooser != nullptr) {
    return (*request.chooser)(job.view, request.candidates, scores, job.lists);
  }
  const int rows = request.num_scores / request.num_lists;
  for (int list = 0; list < request.num_lists; ++list) {
    std::vector<BlockIndex>& blocks = job.lists[static_cast<std::size_t>(list)];
    TopK(BestOf(scores, list * rows, rows), request.k, &job.scratch, &blocks);
    for (BlockIndex& block : blocks) block += request.candidates.begin;
  }
}

void Run(Job& job) {
  const RetrievalRequest& request = job.request;
  const BlockRange range = request.candidates;
  job.scores.resize(static_cast<std::size_t>(request.num_scores * range.size()));
  job.lists.resize(static_cast<std::size_t>(request.num_lists));
  const ScoreRows scores = {
      .data = job.scores.data(), .stride = range.size(), .size = range.size()};
  if (request.scorer != nullptr) {
    (*request.scorer)(job.view, range, scores);
  } else {
    ScoreBlocks(job.view, request, range, scores);
  }
  Choose(job, scores);
}

}  // namespace

struct RetrievalPool::State {
  void Work(std::stop_token stop);
  Job* Find(RetrievalTicket ticket);
  // The oldest job that nobody has begun; null: none.
  Job* Next();

  std::mutex mutex;
  std::condition_variable_any queued;
  std::condition_variable_any finished;
  std::deque<Job> jobs;               // guarded by mutex; a job's content by its state
  Job* collected = nullptr;           // guarded by mutex; free at the next Start
  RetrievalTicket last_ticket = 0;    // guarded by mutex
  std::vector<std::jthread> workers;  // last: joined before the rest goes
};

Job* RetrievalPool::State::Find(RetrievalTicket ticket) {
  const auto found =
      std::find_if(jobs.begin(), jobs.end(), [=](const Job& job) { return job.ticket == ticket; });
  return found == jobs.end() ? nullptr : &*found;
}

Job* RetrievalPool::State::Next() {
  Job* next = nullptr;
  for (Job& job : jobs) {
    if (job.ticket == 0 || job.begun) continue;
    if (next == nullptr || job.ticket < next->ticket) next = &job;
  }
  return next;
}

void RetrievalPool::State::Work(std::stop_token stop) {
  std::unique_lock lock(mutex);
  Job* job = nullptr;
  while (queued.wait(lock, stop, [&] { return (job = Next()) != nullptr; })) {
    if (stop.stop_requested()) return;
    job->begun = true;
    lock.unlock();
    Run(*job);
    lock.lock();
    job->done = true;
    finished.notify_all();
  }
}

RetrievalPool::RetrievalPool(int threads) : state_(std::make_unique<State>()) {
  State* state = state_.get();
  for (int i = 0; i < std::max(1, threads); ++i) {
    state->workers.emplace_back([state](std::stop_token stop) { state->Work(stop); });
  }
}

RetrievalPool::~RetrievalPool() {
  for (std::jthread& worker : state_->workers) worker.request_stop();
}

RetrievalTicket RetrievalPool::Start(const RetrievalRequest& request,
                                     const RepresentationView& view) {
  std::lock_guard lock(state_->mutex);
  if (state_->collected != nullptr) std::exchange(state_->collected, nullptr)->ticket = 0;
  Job* job = state_->Find(0);
  if (job == nullptr) job = &state_->jobs.emplace_back();
  job->ticket = ++state_->last_ticket;
  job->request = request;
  job->view = view;
  job->begun = job->done = false;
  state_->queued.notify_one();
  return job->ticket;
}

BlockLists RetrievalPool::Collect(RetrievalTicket ticket) {
  std::unique_lock lock(state_->mutex);
  Job* job = ticket == 0 ? nullptr : state_->Find(ticket);
  if (job == nullptr || job == state_->collected) return {};
  if (!std::exchange(job->begun, true)) {
    lock.unlock();
    Run(*job);
    lock.lock();
    job->done = true;
  }
  state_->finished.wait(lock, [job] { return job->done; });
  if (state_->collected != nullptr) state_->collected->ticket = 0;
  state_->collected = job;
  return job->lists;
}

}  // namespace esa
