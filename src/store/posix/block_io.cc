#include "store/posix/block_io.h"

#include <algorithm>
#include <filesystem>
#include <future>
#include <thread>
#include <utility>

#include "store/checksum.h"

namespace esa {
namespace {

// So that most blocks are one request: a file then needs no room taken before, and no second write
// for its head. Larger ones only delay others.
constexpr std::uint64_t kMaxRequestBytes = 16u << 20;

// Without io_uring each request under way needs a thread; more than this gains nothing on SSD.
constexpr int kMaxSynchronousThreads = 8;

int ThreadsOf(const StoreConfig& config) {
  if (config.io_engine == IoEngine::kUring && UringWorks()) return config.io_threads;
  return std::max(config.io_threads, std::min(config.io_depth, kMaxSynchronousThreads));
}

// Whether slice `next` may join a run that began with `first`.
bool Joins(std::uint32_t first, std::size_t length, std::uint32_t next, std::uint64_t slice_bytes) {
  return next == first + length && (length + 1) * slice_bytes <= kMaxRequestBytes;
}

}  // namespace

BlockIo::BlockIo(std::unique_ptr<FileSystem> files, std::unique_ptr<const BlockCipher> cipher,
                 const StoreConfig& config, const BlockLayout& layout)
    : layout_(layout),
      cipher_(std::move(cipher)),
      areas_(layout, cipher_ != nullptr),
      engine_(config.io_engine),
      depth_(config.io_depth),
      timeout_(config.timeout_ms),
      files_(std::move(files)),
      reader_(*files_, layout, cipher_.get(), config.verify_checksums),
      pool_(ThreadsOf(config), config.queue_bytes, [this] { return MakeQueue(); }),
      calls_(1, 0) {}

std::unique_ptr<IoQueue> BlockIo::MakeQueue() {
  if (engine_ == IoEngine::kUring) {
    if (auto queue = MakeUringQueue(depth_, memory_)) {
      ++uring_threads_;
      return *std::move(queue);
    }
  }
  return MakeSynchronousQueue();
}

Status BlockIo::OpenFolders(const StoreConfig& config) {
  for (const std::string& name : config.storage_backends) {
    std::string path = std::filesystem::path(name).lexically_normal().string();
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    for (const auto& other : folders_) {
      if (other->path() == path) {
        return InvalidArgument("storage_backends: " + path + " stands there twice");
      }
    }
    auto folder =
        Folder::Open(*files_, {.path = path,
                               .capacity_bytes = config.capacity_bytes,
                               .direct = config.io_direct,
                               .durable = config.durability == Durability::kCommit,
                               .allow_shared = config.allow_shared_folder,
                               .second_touch = config.second_touch,
                               .write_bytes_per_day = config.write_bytes_per_day,
                               .on_gone = [this](const BlockId& id) { reader_.Drop(id); }});
    if (!folder) return folder.error();
    folders_.push_back(*std::move(folder));
  }
  counters_.capacity_bytes = config.capacity_bytes * folders_.size();
  writer_ = std::make_unique<BlockWriter>(*files_, layout_, cipher_.get());
  std::vector<Folder*> folders;
  for (const auto& folder : folders_) folders.push_back(folder.get());
  recency_writer_ = std::make_unique<RecencyWriter>(std::move(folders));
  return {};
}

bool BlockIo::Stop(std::chrono::milliseconds patience) {
  tasks_.CancelAll([this](TaskId task) { pool_.Drop(task); });
  std::packaged_task<void()> close([this] {
    pool_.Stop();
    calls_.Stop();
    writer_.reset();
    recency_writer_.reset();
    folders_.clear();
  });
  const std::future<void> closed = close.get_future();
  std::thread closer(std::move(close));
  if (closed.wait_for(patience) == std::future_status::ready) {
    closer.join();
    return true;
  }
  closer.detach();
  return false;
}

// Rendezvous hashing (Thaler, Ravishankar 1998): one folder more or less moves only the blocks
// that it takes or held, and the order in the configuration does not matter.
Folder& BlockIo::FolderOf(const BlockId& id) const {
  Folder* best = folders_.front().get();
  if (folders_.size() == 1) return *best;
  std::uint64_t best_weight = 0;
  for (const auto& folder : folders_) {
    std::string key = folder->path();
    key.append(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
    const std::uint64_t weight = Checksum(std::as_bytes(std::span(key)));
    if (weight < best_weight) continue;
    best_weight = weight;
    best = folder.get();
  }
  return *best;
}

std::vector<BlockIo::Head> BlockIo::HeadsOf(std::span<const BlockId> ids) {
  std::vector<std::future<Head>> reads(ids.size());
  std::vector<std::shared_ptr<const BlockHead>> at_hand(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    at_hand[i] = reader_.HeadAtHand(ids[i]);
    if (at_hand[i] != nullptr) continue;
    reads[i] = On<Head>(&pool_, [this, id = ids[i]] { return HeadOf(id); });
  }
  std::vector<Head> heads;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    heads.push_back(at_hand[i] != nullptr ? Head(at_hand[i]) : Await<Head>(std::move(reads[i])));
  }
  return heads;
}

BlockIo::Head BlockIo::HeadOf(const BlockId& id) {
  Folder& folder = FolderOf(id);
  if (folder.Refused(id)) return NotFound("block " + id.Hex() + " was found corrupt");
  const bool known = folder.StampOf(id).has_value();
  auto head = reader_.Head(folder, id);
  if (!head && head.error().code == ErrorCode::kDataError) Quarantine(id);
  if (!head && head.error().code == ErrorCode::kUnsupported) {
    Count([](StoreStats& stats) { ++stats.foreign_blocks; });
    return NotFound(head.error().message);
  }
  if (!head && head.error().code == ErrorCode::kNotFound && known) folder.Forget(id);
  return head;
}

void BlockIo::Quarantine(const BlockId& id) {
  const bool moved = FolderOf(id).Quarantine(id);
  reader_.Drop(id);
  if (moved) Count([](StoreStats& stats) { ++stats.quarantined_blocks; });
}

void BlockIo::Cancel(TaskId task) {
  tasks_.Cancel(task, [this](TaskId id) { pool_.Drop(id); });
}

TaskId BlockIo::Prefetch(std::span<const BlockId> ids) {
  const TaskTable::Entry entry = tasks_.Add(ids.size());
  for (const BlockId& id : ids) {
    // Best effort: what cannot be had fails when it is loaded.
    const auto run = [this, task = entry.task, id] {
      (void)reader_.Prefetch(FolderOf(id), id);
      task->Succeed(0);
    };
    const auto drop = [task = entry.task] { task->Succeed(0); };
    pool_.Submit(IoPool::Lane::kPrefetch, {.tag = entry.id, .run = run, .drop = drop});
  }
  return entry.id;
}

void BlockIo::FailPart(Task& task, std::size_t part, const Error& error) {
  Count([&](StoreStats& stats) {
    ++stats.dump_failures;
    if (error.code == ErrorCode::kCancelled) ++stats.cancelled_parts;
  });
  task.Fail(part, error);
}

// Dumping.

TaskId BlockIo::Dump(const std::vector<SliceWrite>& writes) {
  const TaskTable::Entry entry = tasks_.Add(writes.size());
  const Clock::time_point start = Clock::now();
  std::vector<std::shared_ptr<Writing>> runs;
  for (std::size_t part = 0; part < writes.size(); ++part) {
    auto block = writer_->Take(writes[part]);
    if (!block) {
      FailPart(*entry.task, part, block.error());
      continue;
    }
    const auto joins = [&](const SliceRun& run) {
      return run.block == *block &&
             Joins(run.first, run.data.size(), writes[part].slice, layout_.slice_bytes);
    };
    if (runs.empty() || !joins(runs.back()->run)) {
      runs.push_back(std::make_shared<Writing>(Writing{.task = entry.task, .start = start}));
      runs.back()->run.block = *block;
      runs.back()->run.first = writes[part].slice;
    }
    runs.back()->run.data.push_back(writes[part].data);
    runs.back()->parts.push_back(part);
  }
  for (auto& run : runs) Submit(entry.id, std::move(run));
  return entry.id;
}

void BlockIo::Submit(TaskId task, std::shared_ptr<Writing> writing) {
  const std::uint64_t bytes = writing->parts.size() * layout_.slice_bytes;
  if (!pool_.Admit(bytes, Clock::now() + timeout_)) {
    const Error error = DeadlineExceeded("block " + writing->run.block->head.id.Hex() +
                                         ": the queue of dumps had no room for " +
                                         std::to_string(timeout_.count()) + " ms");
    return FailBlock(*writing, error);
  }
  pool_.Submit(IoPool::Lane::kDump,
               {.tag = task,
                .bytes = bytes,
                .prepare = [this, writing](IoRequest* to) { return Begin(*writing, to); },
                .finish = [this, writing](IoRequest* ended) { End(writing, *ended); },
                .drop = [this, writing] { Drop(*writing); }});
}

bool BlockIo::Begin(Writing& writing, IoRequest* request) {
  if (!writing.task->Enter()) {
    Drop(writing);
    return false;
  }
  const Status prepared = writer_->Prepare(&writing.run, request);
  if (prepared.ok()) return true;
  Fail(writing, prepared.error());
  writing.task->Leave();
  return false;
}

bool BlockIo::BeginFront(Writing& writing, IoRequest* request) {
  const Status prepared = writer_->PrepareFront(&writing.run, request);
  if (prepared.ok()) return true;
  Fail(writing, prepared.error());
  writing.task->Leave();
  return false;
}

void BlockIo::End(const std::shared_ptr<Writing>& writing, const IoRequest& request) {
  BlockWriter::Outcome outcome = BlockWriter::Outcome::kOpen;
  const Status written = writer_->Finish(&writing->run, request, &outcome);
  if (written.ok() && outcome == BlockWriter::Outcome::kWantsFront) {
    // A request like any other: a write made here would wait behind all that is under way.
    const auto drop = [this, writing] {
      Drop(*writing);
      writing->task->Leave();
    };
    return pool_.Submit(
        IoPool::Lane::kLoad,
        {.prepare = [this, writing](IoRequest* to) { return BeginFront(*writing, to); },
         .finish = [this, writing](IoRequest* ended) { End(writing, *ended); },
         .drop = drop});
  }
  if (written.ok()) {
    const std::chrono::duration<double> taken = Clock::now() - writing->start;
    Count([&](StoreStats& stats) {
      stats.dumped_bytes += writing->parts.size() * layout_.slice_bytes;
      stats.dump_seconds += taken.count() * static_cast<double>(writing->parts.size());
      if (outcome == BlockWriter::Outcome::kCommitted) ++stats.dumped_blocks;
    });
    for (std::size_t i = 0; i < writing->parts.size(); ++i) {
      writing->task->Succeed(layout_.slice_bytes);
    }
  } else {
    Fail(*writing, written.error());
  }
  writing->task->Leave();
}

void BlockIo::Fail(Writing& writing, const Error& error) {
  for (const std::size_t part : writing.parts) FailPart(*writing.task, part, error);
}

void BlockIo::Drop(Writing& writing) {
  FailBlock(writing,
            Cancelled("block " + writing.run.block->head.id.Hex() + ": the dump was cancelled"));
}

// Whoever cancels must not wait for the disk: a thread of the pool removes the file.
void BlockIo::FailBlock(Writing& writing, const Error& error) {
  const std::shared_ptr<OpenBlock> block = writing.run.block;
  writer_->MarkFailed(*block, error);
  Fail(writing, error);
  const auto discard = [this, block] { writer_->Discard(*block); };
  pool_.Submit(IoPool::Lane::kPrefetch, {.run = discard, .drop = discard});
}

// Loading.

Status BlockIo::CheckRead(const SliceRead& read) const {
  const bool known =
      read.part < layout_.num_slices || read.part == kRepresentations || read.part == kTokens;
  if (known && read.destination != nullptr) return {};
  return InvalidArgument("block " + read.id.Hex() + ": part " + std::to_string(read.part) +
                         " is out of range, or without a destination");
}

TaskId BlockIo::Load(const std::vector<SliceRead>& reads, const Crew* crew) {
  const TaskTable::Entry entry = tasks_.Add(reads.size());
  const Clock::time_point start = Clock::now();
  std::vector<std::size_t> order(reads.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  // As they lie on disk.
  std::ranges::stable_sort(order, {},
                           [&](std::size_t i) { return std::pair(reads[i].id, reads[i].part); });
  std::vector<std::shared_ptr<Reading>> runs;
  for (const std::size_t part : order) {
    const SliceRead& read = reads[part];
    const auto joins = [&](const PartRun& run) {
      return run.id == read.id && read.part < layout_.num_slices &&
             Joins(run.first, run.destinations.size(), read.part, layout_.slice_bytes);
    };
    if (Status valid = CheckRead(read); !valid) {
      Reading wrong{.task = entry.task, .parts = {part}, .run = {.first = read.part}};
      EndPart(wrong, 0, valid);
      continue;
    }
    if (runs.empty() || !joins(runs.back()->run)) {
      runs.push_back(std::make_shared<Reading>(
          Reading{.task = entry.task, .run = {.id = read.id, .first = read.part}, .start = start}));
    }
    runs.back()->run.destinations.push_back(read.destination);
    runs.back()->parts.push_back(part);
  }
  if (crew != nullptr) LoadCached(*crew, &runs);
  std::vector<IoPool::Job> jobs;
  jobs.reserve(runs.size());
  for (const auto& run : runs) {
    jobs.push_back({.tag = entry.id,
                    .prepare = [this, run](IoRequest* to) { return Begin(*run, to); },
                    .finish = [this, run](IoRequest* ended) { End(*run, *ended); },
                    .drop = [this, run] { Drop(*run); }});
  }
  pool_.Submit(IoPool::Lane::kLoad, std::move(jobs));
  return entry.id;
}

// Ends the runs that are in the page cache, and takes them out. Where one is not, no others are
// tried: what comes after it is not there either, as a rule. A run whose bytes are wrong stays, for
// the pool to find out why.
void BlockIo::LoadCached(const Crew& crew, std::vector<std::shared_ptr<Reading>>* runs) {
  std::vector<IoRequest> requests(runs->size());
  for (std::size_t i = 0; i < runs->size(); ++i) {
    PartRun& run = (*runs)[i]->run;
    if (!FolderOf(run.id).Refused(run.id)) reader_.PrepareCached(&run, &requests[i]);
  }
  std::vector<char> loaded(runs->size());
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> missed = false;
  crew([&] {
    for (std::size_t i = 0; !missed && (i = next++) < loaded.size();) {
      if (requests[i].file == nullptr) continue;  // not prepared
      loaded[i] = ReadCached((*runs)[i]->run, requests[i]) ? 1 : 0;
      if (loaded[i] == 0) missed = true;
    }
  });
  for (std::size_t i = 0; i < runs->size(); ++i) {
    if (loaded[i] == 0) continue;
    std::shared_ptr<Reading> reading = std::move((*runs)[i]);
    for (std::size_t part = 0; part < reading->parts.size(); ++part) EndPart(*reading, part, {});
  }
  std::erase(*runs, nullptr);
}

bool BlockIo::ReadCached(const PartRun& run, const IoRequest& request) const {
  if (!request.file->ReadCached(request.offset, request.pieces)) return false;
  if (!request.file->StillThere()) return false;
  for (std::size_t part = 0; part < run.destinations.size(); ++part) {
    if (!reader_.Verify(run, part)) return false;
  }
  return true;
}

bool BlockIo::Begin(Reading& reading, IoRequest* request) {
  if (!reading.task->Enter()) {
    Drop(reading);
    return false;
  }
  Folder& folder = FolderOf(reading.run.id);
  if (folder.Refused(reading.run.id)) {
    request->status = NotFound("block " + reading.run.id.Hex() + " was found corrupt");
  } else {
    request->status = reader_.Prepare(folder, &reading.run, request);
  }
  if (request->status.ok() && !request->pieces.empty()) return true;
  End(reading, *request);
  return false;
}

void BlockIo::End(Reading& reading, const IoRequest& request) {
  // Once more, one by one, where that may tell more: which part of several it was; or another
  // process has replaced the file, so that the head at hand was of the old one.
  const bool several = reading.parts.size() > 1;
  for (std::size_t i = 0; i < reading.parts.size(); ++i) {
    Status status = request.status.ok() ? reader_.Verify(reading.run, i) : request.status;
    const bool stale = !status && (status.error().code == ErrorCode::kDataError ||
                                   status.error().code == ErrorCode::kUnsupported ||
                                   status.error().code == ErrorCode::kNotFound);
    if (stale) reader_.Drop(reading.run.id);
    if (stale || (!status && several)) {
      const std::uint32_t part = reading.run.first + static_cast<std::uint32_t>(i);
      status = ReadAgain(reading.run.id, part, reading.run.destinations[i]);
    }
    EndPart(reading, i, status);
  }
  reading.task->Leave();
}

Status BlockIo::ReadAgain(const BlockId& id, std::uint32_t part, std::byte* destination) {
  Folder& folder = FolderOf(id);
  if (folder.Refused(id)) return NotFound("block " + id.Hex() + " was found corrupt");
  const Status status = reader_.Read(folder, id, part, destination);
  if (status.ok()) return status;
  if (status.error().code == ErrorCode::kDataError) Quarantine(id);
  if (status.error().code == ErrorCode::kUnsupported) return NotFound(status.error().message);
  if (status.error().code == ErrorCode::kNotFound) {
    reader_.Drop(id);
    folder.Forget(id);
  }
  return status;
}

void BlockIo::EndPart(Reading& reading, std::size_t index, const Status& status) {
  const std::uint64_t bytes = reader_.PartBytes(reading.run.first);
  const std::chrono::duration<double> taken = Clock::now() - reading.start;
  Count([&](StoreStats& stats) {
    if (!status) {
      ++stats.load_failures;
      if (status.error().code == ErrorCode::kCancelled) ++stats.cancelled_parts;
      return;
    }
    if (reading.run.first < layout_.num_slices) ++stats.loaded_slices;
    stats.loaded_bytes += bytes;
    stats.load_seconds += taken.count();
  });
  if (status.ok()) {
    reading.task->Succeed(bytes);
  } else {
    reading.task->Fail(reading.parts[index], status.error());
  }
}

void BlockIo::Drop(Reading& reading) {
  const Error error = Cancelled("the load was cancelled");
  for (std::size_t i = 0; i < reading.parts.size(); ++i) EndPart(reading, i, error);
}

void BlockIo::AddTo(StoreStats* stats) const {
  {
    std::lock_guard lock(counters_mutex_);
    *stats = counters_;
  }
  for (const auto& folder : folders_) folder->AddTo(stats);
  for (const auto& folder : folders_) stats->direct_folders += folder->direct() ? 1 : 0;
  stats->io_threads = pool_.threads();
  stats->uring_threads = uring_threads_;
  stats->pending_tasks = tasks_.Pending();
}

}  // namespace esa
