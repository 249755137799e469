#include "retrieval/retrieval_pool.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <stop_token>
#include <thread>
#include <unordered_map>
#include <utility>

#include "ops/retrieval_kernels.h"

namespace esa {
namespace {

std::vector<BlockIndex> Retrieve(const RetrievalRequest& request, const RepresentationView& view) {
  const BlockRange range = request.candidates;
  std::vector<float> scores(static_cast<std::size_t>(range.size()));
  if (request.scorer) {
    request.scorer(view, range, scores);
  } else {
    const std::int64_t dim = std::int64_t{view.num_kv_heads} * view.head_dim;
    DotRows(view.mean + range.begin * dim, dim, request.query.data(), scores);
  }
  std::vector<BlockIndex> best = TopK(scores, std::min(request.k, range.size()));
  for (BlockIndex& block : best) block += range.begin;
  return best;
}

}  // namespace

struct RetrievalPool::State {
  struct Job {
    RetrievalTicket ticket = 0;
    RetrievalRequest request;
    RepresentationView view;
  };
  struct Outcome {
    bool done = false;
    std::vector<BlockIndex> blocks;
  };

  void Work(std::stop_token stop);

  std::mutex mutex;
  std::condition_variable_any queued;
  std::condition_variable_any finished;
  std::deque<Job> jobs;                                   // guarded by mutex
  std::unordered_map<RetrievalTicket, Outcome> outcomes;  // guarded by mutex
  RetrievalTicket last_ticket = 0;                        // guarded by mutex
  std::vector<std::jthread> workers;                      // last: joined before the rest goes
};

void RetrievalPool::State::Work(std::stop_token stop) {
  std::unique_lock lock(mutex);
  while (queued.wait(lock, stop, [this] { return !jobs.empty(); })) {
    if (stop.stop_requested()) return;
    const Job job = std::move(jobs.front());
    jobs.pop_front();
    lock.unlock();
    std::vector<BlockIndex> blocks = Retrieve(job.request, job.view);
    lock.lock();
    outcomes[job.ticket] = {.done = true, .blocks = std::move(blocks)};
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

RetrievalTicket RetrievalPool::Start(RetrievalRequest request, const RepresentationView& view) {
  std::lock_guard lock(state_->mutex);
  const RetrievalTicket ticket = ++state_->last_ticket;
  state_->outcomes.emplace(ticket, State::Outcome{});
  state_->jobs.push_back({ticket, std::move(request), view});
  state_->queued.notify_one();
  return ticket;
}

std::vector<BlockIndex> RetrievalPool::Collect(RetrievalTicket ticket) {
  std::unique_lock lock(state_->mutex);
  const auto found = state_->outcomes.find(ticket);
  if (found == state_->outcomes.end()) return {};
  State::Outcome& outcome = found->second;  // stays put while other tickets come and go
  state_->finished.wait(lock, [&outcome] { return outcome.done; });
  std::vector<BlockIndex> blocks = std::move(outcome.blocks);
  state_->outcomes.erase(ticket);
  return blocks;
}

}  // namespace esa
