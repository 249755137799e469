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

// Rows that are scored as one piece, at least: large against the microseconds it takes to wake a
// worker.
constexpr std::int64_t kPieceRows = 8192;

// Pieces for each thread, at most: the last one is waited for, and long runs of rows are faster.
constexpr std::int64_t kPiecesOfThread = 4;

struct Job {
  RetrievalTicket ticket = 0;  // 0: free
  RetrievalRequest request;
  RepresentationView view;
  std::int64_t piece_blocks = 0;
  std::int64_t pieces = 0;
  std::int64_t begun = 0;     // pieces [0, begun)
  std::int64_t finished = 0;  // so many of them
  bool dropped = false;
  bool done = false;
  std::vector<float> scores;  // [num_scores, candidates]
  std::vector<std::vector<BlockIndex>> lists;
  TopKScratch scratch;
};

void CutIntoPieces(std::int64_t threads, Job* job) {
  const std::int64_t blocks = job->request.candidates.size();
  const std::int64_t rows = blocks * job->view.parts * job->view.num_kv_heads;
  const std::int64_t most = std::clamp<std::int64_t>(blocks, 1, kPiecesOfThread * threads);
  job->pieces = std::clamp<std::int64_t>(rows / kPieceRows, 1, most);
  job->piece_blocks = (blocks + job->pieces - 1) / job->pieces;
}

// The best score of the rows that a list is chosen by, into the first of them.
std::span<float> BestOf(const ScoreRows& scores, int first, int count) {
  const std::span<float> best = scores.row(first);
  for (int r = first + 1; r < first + count; ++r) {
    const std::span<const float> row = scores.row(r);
    for (std::size_t i = 0; i < best.size(); ++i) best[i] = std::max(best[i], row[i]);
  }
  return best;
}

ScoreRows AllScores(Job& job) {
  const std::int64_t blocks = job.request.candidates.size();
  return {.data = job.scores.data(), .stride = blocks, .size = blocks};
}

void Choose(Job& job) {
  const RetrievalRequest& request = job.request;
  const ScoreRows scores = AllScores(job);
  if (request.chooser != nullptr) {
    const auto lists = static_cast<std::size_t>(request.num_lists);
    return (*request.chooser)(job.view, request.candidates, scores, {job.lists.data(), lists});
  }
  const int rows = request.num_scores / request.num_lists;
  for (int list = 0; list < request.num_lists; ++list) {
    std::vector<BlockIndex>& blocks = job.lists[static_cast<std::size_t>(list)];
    TopK(BestOf(scores, list * rows, rows), request.k, &job.scratch, &blocks);
    for (BlockIndex& block : blocks) block += request.candidates.begin;
  }
}

void ScorePiece(Job& job, std::int64_t piece) {
  const BlockRange all = job.request.candidates;
  const std::int64_t begin = piece * job.piece_blocks;
  const std::int64_t end = std::min(begin + job.piece_blocks, all.size());
  if (begin >= end) return;
  const BlockRange range = {all.begin + static_cast<BlockIndex>(begin),
                            all.begin + static_cast<BlockIndex>(end)};
  const ScoreRows scores = {
      .data = job.scores.data() + begin, .stride = all.size(), .size = range.size()};
  if (job.request.scorer != nullptr) {
    (*job.request.scorer)(job.view, range, scores);
  } else {
    ScoreBlocks(job.view, job.request, range, scores);
  }
}

}  // namespace

struct RetrievalPool::State {
  void Work(std::stop_token stop);
  // Scores the next piece; who finishes the last one chooses. Called with the lock held, which is
  // let go meanwhile.
  void RunPiece(Job& job, std::unique_lock<std::mutex>& lock);
  Job* Find(RetrievalTicket ticket);
  // The oldest job with a piece that nobody has begun; null: none.
  Job* Next();
  void FreeCollected();

  std::mutex mutex;
  std::condition_variable_any queued;
  std::condition_variable finished;
  std::deque<Job> jobs;               // guarded by mutex; what is not a count, by the counts
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
    if (job.ticket == 0 || job.begun == job.pieces) continue;
    if (next == nullptr || job.ticket < next->ticket) next = &job;
  }
  return next;
}

void RetrievalPool::State::FreeCollected() {
  if (collected != nullptr) std::exchange(collected, nullptr)->ticket = 0;
}

void RetrievalPool::State::RunPiece(Job& job, std::unique_lock<std::mutex>& lock) {
  const std::int64_t piece = job.begun++;
  lock.unlock();
  ScorePiece(job, piece);
  lock.lock();
  if (++job.finished < job.pieces) return;
  if (!job.dropped) {
    lock.unlock();
    Choose(job);
    lock.lock();
  }
  job.done = true;
  finished.notify_one();
}

void RetrievalPool::State::Work(std::stop_token stop) {
  std::unique_lock lock(mutex);
  Job* job = nullptr;
  while (queued.wait(lock, stop, [&] { return (job = Next()) != nullptr; })) {
    if (stop.stop_requested()) return;
    RunPiece(*job, lock);
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
  std::unique_lock lock(state_->mutex);
  state_->FreeCollected();
  Job* job = state_->Find(0);
  if (job == nullptr) job = &state_->jobs.emplace_back();
  job->request = request;
  job->view = view;
  CutIntoPieces(std::ssize(state_->workers) + 1, job);
  job->begun = job->finished = 0;
  job->dropped = job->done = false;
  job->scores.resize(static_cast<std::size_t>(request.num_scores * request.candidates.size()));
  // Lists that are not needed now keep their memory.
  const auto lists = static_cast<std::size_t>(request.num_lists);
  if (job->lists.size() < lists) job->lists.resize(lists);
  for (std::size_t i = 0; i < lists; ++i) job->lists[i].clear();
  job->ticket = ++state_->last_ticket;
  const RetrievalTicket ticket = job->ticket;
  const bool whole = job->pieces == 1;
  lock.unlock();
  if (whole) {
    state_->queued.notify_one();
  } else {
    state_->queued.notify_all();
  }
  return ticket;
}

BlockLists RetrievalPool::Collect(RetrievalTicket ticket) {
  std::unique_lock lock(state_->mutex);
  Job* job = ticket == 0 ? nullptr : state_->Find(ticket);
  if (job == nullptr || job == state_->collected) return {};
  while (job->begun < job->pieces) state_->RunPiece(*job, lock);
  state_->finished.wait(lock, [job] { return job->done; });
  state_->FreeCollected();
  state_->collected = job;
  return {job->lists.data(), static_cast<std::size_t>(job->request.num_lists)};
}

void RetrievalPool::Drop(RetrievalTicket ticket) {
  std::unique_lock lock(state_->mutex);
  Job* job = ticket == 0 ? nullptr : state_->Find(ticket);
  if (job == nullptr || job == state_->collected) return;
  // Nothing is under way of a job of which all that was begun is finished, unless it was all of it.
  const bool idle = job->finished == job->begun && job->begun < job->pieces;
  job->dropped = true;
  job->pieces = job->begun;
  if (!idle) state_->finished.wait(lock, [job] { return job->done; });
  job->ticket = 0;
}

}  // namespace esa
