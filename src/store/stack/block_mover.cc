#include "store/stack/block_mover.h"

#include <algorithm>
#include <string>
#include <utility>

namespace esa {
namespace {

using std::chrono::steady_clock;

// A staging buffer holds as many slices as fit here: enough for the throughput of a disk, and a
// huge page. Per way a few are in flight at a time, to keep both tiers busy.
constexpr std::uint64_t kBufferBytes = 2u << 20;
constexpr std::uint64_t kBuffers = 4;

// Blocks of one way at a time: the next one's first reads overlap the last writes of this one.
constexpr std::size_t kMaxActive = 2;

// Keys of uses that may wait; beyond, the lower tier's recency may lag.
constexpr std::size_t kMaxWaitingUses = 16384;

// A tier tells no one that a task has ended, so one task is waited for and the others are looked at
// when it ends, or after this.
constexpr std::chrono::milliseconds kLook{5};

std::uint32_t SlicesPerBuffer(const BlockLayout& layout) {
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(kBufferBytes / layout.slice_bytes, 1, layout.num_slices));
}

Status StatusOf(const Result<TaskResult>& result) {
  if (!result) return result.error();
  if (!result->failures.empty()) return result->failures.front().error;
  return {};
}

}  // namespace

BlockMover::BlockMover(BlockStore& upper, BlockStore& lower,
                       std::function<void(const Outcome&)> on_end)
    : upper_(upper),
      lower_(lower),
      layout_(upper.layout()),
      slices_per_buffer_(SlicesPerBuffer(layout_)),
      on_end_(std::move(on_end)),
      thread_([this](std::stop_token stop) { Run(stop); }) {}

BlockMover::~BlockMover() { thread_.request_stop(); }

void BlockMover::Enqueue(Way way, const BlockId& id) {
  auto move = std::make_shared<Move>();
  move->way = way;
  move->id = id;
  move->number = ++next_number_;
  move->is_open = way == Way::kDown;
  LaneOf(way).moves.emplace(id, move);
  LaneOf(way).queue.push_back(std::move(move));
  work_.notify_all();
}

void BlockMover::Down(const BlockId& id) {
  std::lock_guard lock(mutex_);
  Enqueue(Way::kDown, id);
}

bool BlockMover::Up(const BlockId& id) {
  std::lock_guard lock(mutex_);
  Lane& lane = LaneOf(Way::kUp);
  if (lane.moves.contains(id)) return true;
  if (lane.queue.size() >= kMaxQueuedUp) return false;
  Enqueue(Way::kUp, id);
  return true;
}

bool BlockMover::HurryUp(const BlockId& id) {
  std::lock_guard lock(mutex_);
  Lane& lane = LaneOf(Way::kUp);
  const auto found = lane.moves.find(id);
  if (found == lane.moves.end()) return false;
  const auto queued = std::find(lane.queue.begin(), lane.queue.end(), found->second);
  if (queued != lane.queue.end()) std::rotate(lane.queue.begin(), queued, queued + 1);
  return true;
}

bool BlockMover::IsMovingUp(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  return LaneOf(Way::kUp).moves.contains(id);
}

bool BlockMover::WaitUp(const BlockId& id, BlockStore::Deadline deadline,
                        const std::atomic<bool>& cancelled) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline,
                             [&] { return cancelled || !LaneOf(Way::kUp).moves.contains(id); });
}

void BlockMover::Wake() {
  std::lock_guard lock(mutex_);  // none is between its look at `cancelled` and its sleep
  changed_.notify_all();
}

Status BlockMover::Drop(const BlockId& id, BlockStore::Deadline deadline) {
  std::unique_lock lock(mutex_);
  for (Lane& lane : lanes_) {
    const auto found = lane.moves.find(id);
    if (found != lane.moves.end()) found->second->dropped = true;
  }
  work_.notify_all();
  const auto gone = [&] {
    return std::ranges::none_of(lanes_, [&](const Lane& lane) { return lane.moves.contains(id); });
  };
  if (changed_.wait_until(lock, deadline, gone)) return {};
  return DeadlineExceeded("block " + id.Hex() + ": a tier does not let go of it");
}

void BlockMover::Use(std::span<const BlockKey> keys) {
  std::vector<UsedKey> copies;
  std::lock_guard lock(mutex_);
  if (keys.empty() || waiting_uses_ + keys.size() > kMaxWaitingUses) return;
  for (const BlockKey& key : keys) {
    copies.push_back({key.id, {key.tokens.begin(), key.tokens.end()}});
  }
  waiting_uses_ += copies.size();
  ++asked_uses_;
  uses_.push_back(std::move(copies));
  work_.notify_all();
}

bool BlockMover::WaitDown(BlockStore::Deadline deadline) {
  std::unique_lock lock(mutex_);
  const std::uint64_t last = next_number_;
  const std::uint64_t last_use = asked_uses_;
  return changed_.wait_until(lock, deadline, [&] {
    return done_uses_ >= last_use &&
           std::ranges::none_of(LaneOf(Way::kDown).moves,
                                [&](const auto& entry) { return entry.second->number <= last; });
  });
}

bool BlockMover::Stop(BlockStore::Deadline deadline) {
  thread_.request_stop();
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return ended_; });
}

void BlockMover::Run(std::stop_token stop) {
  for (;;) {
    if (stop.stop_requested()) {
      std::lock_guard lock(mutex_);
      for (Lane& lane : lanes_) {
        for (auto& entry : lane.moves) entry.second->dropped = true;
      }
    }
    CancelDropped();
    bool progress = ReapEnded();
    progress |= Fill(Way::kUp);
    progress |= Fill(Way::kDown);
    progress |= RunUses(stop);
    if (progress) continue;
    if (!steps_.empty()) {
      WaitForOne();
    } else if (!Sleep(stop)) {
      break;
    }
  }
  std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

bool BlockMover::Sleep(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  return work_.wait(lock, stop, [&] {
    return !uses_.empty() ||
           std::ranges::any_of(lanes_, [](const Lane& lane) { return !lane.queue.empty(); });
  });
}

bool BlockMover::Fill(Way way) {
  Lane& lane = LaneOf(way);
  bool progress = false;
  for (;;) {
    const auto wants = std::ranges::find_if(lane.active, [&](const auto& move) {
      return move->has_head && move->status.ok() && !move->dropped &&
             move->next_slice < layout_.num_slices;
    });
    if (wants == lane.active.end()) {
      if (lane.active.size() >= kMaxActive || !TakeQueued(way)) return progress;
      progress = true;
      continue;
    }
    if (lane.buffers == nullptr) {
      const std::uint64_t bytes = slices_per_buffer_ * layout_.slice_bytes;
      auto buffers = SlicePool::Create(static_cast<std::int64_t>(bytes), kBuffers * bytes);
      if (!buffers) {
        (*wants)->status = buffers.error();
        EndMoveIfDone(std::shared_ptr<Move>(*wants));
        continue;
      }
      lane.buffers = *std::move(buffers);
    }
    SliceSlot buffer = lane.buffers->Allocate();
    if (!buffer) return progress;
    StartRead(std::shared_ptr<Move>(*wants), std::move(buffer));
    progress = true;
  }
}

bool BlockMover::TakeQueued(Way way) {
  Lane& lane = LaneOf(way);
  std::shared_ptr<Move> move;
  {
    std::lock_guard lock(mutex_);
    if (lane.queue.empty()) return false;
    move = std::move(lane.queue.front());
    lane.queue.pop_front();
  }
  lane.active.push_back(move);
  if (way == Way::kDown) {
    StartHead(move);
    return true;
  }
  lower_.Pin({&move->id, 1});
  if (move->dropped) {
    EndMoveIfDone(move);
    return true;
  }
  move->tokens.resize(layout_.block_tokens);
  std::vector<SliceRead> read = {
      {move->id, kTokens, reinterpret_cast<std::byte*>(move->tokens.data())}};
  Start({.move = move, .kind = Kind::kFind, .store = &upper_}, upper_.Load(std::move(read)));
  return true;
}

void BlockMover::StartHead(const std::shared_ptr<Move>& move) {
  std::vector<SliceRead> reads;
  if (move->way == Way::kUp) {
    reads.push_back({move->id, kTokens, reinterpret_cast<std::byte*>(move->tokens.data())});
  }
  if (layout_.representation_bytes > 0) {
    move->representations.resize(std::size_t{layout_.num_slices} * layout_.representation_bytes);
    reads.push_back({move->id, kRepresentations, move->representations.data()});
  }
  BlockStore& from = From(*move);
  Start({.move = move, .kind = Kind::kHead, .store = &from}, from.Load(std::move(reads)));
}

void BlockMover::StartRead(const std::shared_ptr<Move>& move, SliceSlot buffer) {
  const std::uint32_t first = move->next_slice;
  const std::uint32_t count = std::min(slices_per_buffer_, layout_.num_slices - first);
  move->next_slice += count;
  std::vector<SliceRead> reads;
  for (std::uint32_t i = 0; i < count; ++i) {
    reads.push_back({move->id, first + i, buffer.data() + i * layout_.slice_bytes});
  }
  BlockStore& from = From(*move);
  Start({.move = move,
         .kind = Kind::kRead,
         .store = &from,
         .buffer = std::move(buffer),
         .first = first,
         .count = count},
        from.Load(std::move(reads)));
}

void BlockMover::StartWrite(Step read) {
  const Move& move = *read.move;
  std::vector<SliceWrite> writes;
  for (std::uint32_t i = 0; i < read.count; ++i) {
    const std::uint32_t slice = read.first + i;
    writes.push_back({.id = move.id,
                      .slice = slice,
                      .data = read.buffer.data() + i * layout_.slice_bytes,
                      .representation = move.representations.data() +
                                        std::size_t{slice} * layout_.representation_bytes});
  }
  read.kind = Kind::kWrite;
  read.store = &To(move);
  Result<TaskId> task = read.store->Dump(std::move(writes));
  Start(std::move(read), std::move(task));
}

void BlockMover::Start(Step step, Result<TaskId> task) {
  ++step.move->steps;
  if (!task) return End(std::move(step), task.error());
  step.task = *task;
  steps_.push_back(std::move(step));
}

void BlockMover::CancelDropped() {
  for (Step& step : steps_) {
    if (!step.move->dropped || step.cancelled) continue;
    step.cancelled = true;
    step.store->Cancel(step.task);
  }
  for (Lane& lane : lanes_) {
    const std::list<std::shared_ptr<Move>> active = lane.active;
    for (const auto& move : active) {
      if (move->dropped) EndMoveIfDone(move);  // one that waits for a buffer
    }
  }
}

bool BlockMover::ReapEnded() {
  bool progress = false;
  for (auto at = steps_.begin(); at != steps_.end();) {
    if (!at->store->Poll(at->task)) {
      ++at;
      continue;
    }
    progress = true;
    Step step = std::move(*at);
    at = steps_.erase(at);
    const Result<TaskResult> result = step.store->Wait(step.task, steady_clock::now());
    End(std::move(step), result);
  }
  return progress;
}

void BlockMover::WaitForOne() {
  const auto up =
      std::ranges::find_if(steps_, [](const Step& step) { return step.move->way == Way::kUp; });
  const auto at = up == steps_.end() ? steps_.begin() : up;
  const Result<TaskResult> result = at->store->Wait(at->task, steady_clock::now() + kLook);
  if (!result && result.error().code == ErrorCode::kDeadlineExceeded) return;
  Step step = std::move(*at);
  steps_.erase(at);
  End(std::move(step), result);
}

void BlockMover::End(Step step, const Result<TaskResult>& result) {
  const std::shared_ptr<Move> move = step.move;
  --move->steps;
  Status status = StatusOf(result);
  if (move->dropped) status = Cancelled("block " + move->id.Hex() + ": the copy was dropped");
  if (step.kind == Kind::kFind && !move->dropped) {
    move->found = status.ok();
    if (!move->found) StartHead(move);
  } else if (!status) {
    if (move->status.ok()) move->status = status;
  } else if (step.kind == Kind::kHead) {
    EndHead(move);
  } else if (step.kind == Kind::kRead && move->status.ok()) {
    StartWrite(std::move(step));
  }
  step.buffer.Reset();
  EndMoveIfDone(move);
}

void BlockMover::EndHead(const std::shared_ptr<Move>& move) {
  if (move->way == Way::kUp) {
    // Of a promoted block the upper tier is told no parent: it is kept by its own recency.
    const Result<bool> begun = upper_.Begin({move->id, move->tokens}, {}, Admission::kRequired);
    if (!begun) {
      move->status = begun.error();
      return;
    }
    move->is_open = *begun;
    move->found = !*begun;
  }
  move->has_head = true;
}

void BlockMover::EndMoveIfDone(const std::shared_ptr<Move>& move) {
  if (move->dropped && move->status.ok() && !move->found &&
      !(move->has_head && move->next_slice == layout_.num_slices)) {
    move->status = Cancelled("block " + move->id.Hex() + ": the copy was dropped");
  }
  const bool copied = move->has_head && move->next_slice == layout_.num_slices;
  if (move->steps > 0 || (move->status.ok() && !move->found && !copied)) return;
  Lane& lane = LaneOf(move->way);
  const auto active = std::ranges::find(lane.active, move);
  if (active == lane.active.end()) return;  // ended already, by a step that failed at once
  lane.active.erase(active);
  if (!move->status.ok() && move->is_open) To(*move).Abandon(move->id);
  if (move->way == Way::kUp) lower_.Unpin({&move->id, 1});
  on_end_({.way = move->way,
           .id = move->id,
           .status = move->status,
           .copied = copied && move->status.ok()});
  std::lock_guard lock(mutex_);
  lane.moves.erase(move->id);
  changed_.notify_all();
}

bool BlockMover::RunUses(const std::stop_token& stop) {
  std::vector<UsedKey> used;
  {
    std::lock_guard lock(mutex_);
    if (uses_.empty()) return false;
    used = std::move(uses_.front());
    uses_.pop_front();
    waiting_uses_ -= used.size();
  }
  if (!stop.stop_requested()) {
    std::vector<BlockKey> keys;
    for (const UsedKey& key : used) keys.push_back({key.id, key.tokens});
    const std::vector<bool> hits = lower_.Lookup(keys);
    const auto num_hits = static_cast<std::uint64_t>(std::ranges::count(hits, true));
    used_hits_ += num_hits;
    used_misses_ += hits.size() - num_hits;
  }
  std::lock_guard lock(mutex_);
  ++done_uses_;
  changed_.notify_all();
  return true;
}

}  // namespace esa
