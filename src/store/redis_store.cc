// The `redis` backend: one string per block on a Redis server, the tier that machines share.
//
// This file is the verbs: it turns tasks into jobs and failures into counters. Bytes on their way
// to the server are redis/value_writer.h's, bytes from it redis/value_reader.h's.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "esa/block_store.h"
#include "store/io_pool.h"
#include "store/key_file.h"
#include "store/redis/connection_pool.h"
#include "store/redis/value_reader.h"
#include "store/redis/value_writer.h"
#include "store/task_table.h"

namespace esa {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Slices that one job moves in one pipeline: at most so much that the next task's turn comes soon
// and the server need not keep more of our replies, at least so much that round trips do not show.
constexpr std::uint64_t kMaxJobBytes = 1u << 20;
constexpr std::uint64_t kMinJobBytes = 256u << 10;

// Heads of one lookup's round trip; a prefix that ends early does not ask for all.
constexpr std::size_t kKeysPerLookup = 256;

constexpr int kMaxIoThreads = 256;

// Stats and the end of a store wait no longer than this for a server that does not answer.
constexpr milliseconds kPatience{1000};

class RedisStore final : public BlockStore {
 public:
  RedisStore(RedisUrl url, const StoreConfig& config, const BlockLayout& layout)
      : layout_(layout),
        io_threads_(static_cast<std::size_t>(config.io_threads)),
        timeout_(config.timeout_ms),
        connections_(std::move(url), io_threads_ + 1),
        reader_(connections_, layout, config.verify_checksums),
        writer_(connections_, layout),
        pool_(std::make_unique<IoPool>(config.io_threads, config.queue_bytes)) {}
  ~RedisStore() override;

  Status Connect();

  const BlockLayout& layout() const override { return layout_; }
  std::vector<bool> Lookup(std::span<const BlockKey> keys) override;
  std::size_t LookupPrefix(std::span<const BlockKey> keys) override;
  Result<TaskId> Prefetch(std::span<const BlockId> ids) override;
  Result<bool> Begin(const BlockKey& key, const BlockId& parent, Admission admission) override;
  Result<TaskId> Dump(std::vector<SliceWrite> writes) override;
  void Abandon(const BlockId& id) override;
  Result<TaskId> Load(std::vector<SliceRead> reads) override;
  bool Poll(TaskId task) override { return tasks_.Poll(task); }
  Result<TaskResult> Wait(TaskId task, Deadline deadline) override {
    return tasks_.Wait(task, deadline);
  }
  void Cancel(TaskId task) override;
  // The server evicts by its own rule, which knows no pins.
  void Pin(std::span<const BlockId>) override {}
  void Unpin(std::span<const BlockId>) override {}
  Status Remove(const BlockId& id) override;
  StoreStats Stats() const override;

 private:
  // A task under way, as its jobs know it.
  struct Work {
    TaskId id = 0;
    std::shared_ptr<Task> task;
    Deadline submitted;
  };

  Deadline FromNow() const { return steady_clock::now() + timeout_; }
  Work NewWork(std::size_t parts);
  std::uint64_t JobBytes(std::uint64_t task_bytes) const;
  std::vector<bool> HitsOf(std::span<const BlockKey> keys);
  Status CheckRead(const SliceRead& read) const;
  void SweepSoon();

  void SubmitReads(const Work& work, std::vector<ValueRead> reads);
  void SubmitWrites(const Work& work, std::vector<ValueWrite> writes);
  void EndRead(const Work& work, const ValueRead& read);
  void EndWrite(const Work& work, const ValueWrite& write);
  void FailWrite(const Work& work, std::size_t part, const Error& error);

  template <class Change>
  void Count(Change change) const {
    std::lock_guard lock(counters_mutex_);
    change(counters_);
  }

  const BlockLayout layout_;
  const std::size_t io_threads_;
  const milliseconds timeout_;
  mutable ConnectionPool connections_;
  mutable ValueReader reader_;
  ValueWriter writer_;
  TaskTable tasks_;
  mutable std::mutex counters_mutex_;
  mutable StoreStats counters_;   // guarded by counters_mutex_; `blocks`: when last counted
  std::unique_ptr<IoPool> pool_;  // last: its threads use all of the above
};

double SecondsSince(BlockStore::Deadline start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

Status RedisStore::Connect() {
  const auto connection = connections_.Take(FromNow());
  return connection.ok() ? Status() : connection.error();
}

// What is under way ends at once, whatever the server does; then, if it answers, the keys of open
// blocks go. They would also expire.
RedisStore::~RedisStore() {
  tasks_.CancelAll([this](TaskId task) { pool_->Drop(task); });
  connections_.Interrupt();
  pool_.reset();
  writer_.AbandonAll();
  if (!writer_.HasLeftovers()) return;
  auto connection = RedisConnection::Open(connections_.url(), nullptr,
                                          steady_clock::now() + std::min(timeout_, kPatience));
  if (connection) writer_.SweepOn(**connection);
}

std::vector<bool> RedisStore::HitsOf(std::span<const BlockKey> keys) {
  std::vector<BlockId> ids;
  for (const BlockKey& key : keys) ids.push_back(key.id);
  const auto heads = reader_.Heads(ids, FromNow());
  std::vector<bool> hits;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    hits.push_back(heads[i].ok() && std::ranges::equal((*heads[i])->tokens, keys[i].tokens));
  }
  return hits;
}

std::vector<bool> RedisStore::Lookup(std::span<const BlockKey> keys) {
  std::vector<bool> hits;
  for (std::size_t at = 0; at < keys.size(); at += kKeysPerLookup) {
    const auto some = HitsOf(keys.subspan(at, std::min(kKeysPerLookup, keys.size() - at)));
    hits.insert(hits.end(), some.begin(), some.end());
  }
  const auto num_hits = static_cast<std::uint64_t>(std::ranges::count(hits, true));
  Count([&](StoreStats& stats) {
    stats.lookup_hits += num_hits;
    stats.lookup_misses += keys.size() - num_hits;
  });
  return hits;
}

std::size_t RedisStore::LookupPrefix(std::span<const BlockKey> keys) {
  std::size_t prefix = 0;
  bool unbroken = true;
  while (unbroken && prefix < keys.size()) {
    const auto some = HitsOf(keys.subspan(prefix, std::min(kKeysPerLookup, keys.size() - prefix)));
    const auto miss = std::ranges::find(some, false);
    unbroken = miss == some.end();
    prefix += static_cast<std::size_t>(miss - some.begin());
  }
  Count([&](StoreStats& stats) {
    stats.lookup_hits += prefix;
    if (prefix < keys.size()) ++stats.lookup_misses;
  });
  return prefix;
}

RedisStore::Work RedisStore::NewWork(std::size_t parts) {
  TaskTable::Entry entry = tasks_.Add(parts);
  return {entry.id, std::move(entry.task), steady_clock::now()};
}

// The values are in the server's memory; nearer than that are only their heads.
Result<TaskId> RedisStore::Prefetch(std::span<const BlockId> ids) {
  const Work work = NewWork(ids.size());
  if (ids.empty()) return work.id;
  const auto end = [work, parts = ids.size()] {
    for (std::size_t i = 0; i < parts; ++i) work.task->Succeed(0);
  };
  const auto run = [this, end, names = std::vector<BlockId>(ids.begin(), ids.end())] {
    (void)reader_.Heads(names, FromNow());
    end();
  };
  pool_->Submit(IoPool::Lane::kPrefetch, {.tag = work.id, .run = run, .drop = end});
  return work.id;
}

Result<bool> RedisStore::Begin(const BlockKey& key, const BlockId& parent, Admission) {
  if (key.tokens.size() != layout_.block_tokens) {
    return InvalidArgument("block " + key.id.Hex() + ": " + std::to_string(key.tokens.size()) +
                           " tokens, expected " + std::to_string(layout_.block_tokens));
  }
  // In this order: a block leaves the open ones only after it can be found stored.
  if (writer_.IsOpen(key.id)) return false;
  const Deadline deadline = FromNow();
  const auto head = reader_.Heads({&key.id, 1}, deadline).front();
  if (head.ok()) {
    if (std::ranges::equal((*head)->tokens, key.tokens)) return false;
    return InvalidArgument("block " + key.id.Hex() + ": stored with other tokens");
  }
  const ErrorCode code = head.error().code;
  if (code != ErrorCode::kNotFound && code != ErrorCode::kDataError) return head.error();
  return writer_.Begin(key, parent, deadline);
}

// Evenly over the threads, within bounds.
std::uint64_t RedisStore::JobBytes(std::uint64_t task_bytes) const {
  return std::clamp<std::uint64_t>(task_bytes / io_threads_, kMinJobBytes, kMaxJobBytes);
}

Result<TaskId> RedisStore::Dump(std::vector<SliceWrite> writes) {
  const Work work = NewWork(writes.size());
  std::vector<ValueWrite> taken;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    auto value = writer_.Take(writes[i]);
    if (value) {
      taken.push_back({i, *std::move(value), writes[i].slice, writes[i].data, {}, false});
    } else {
      FailWrite(work, i, value.error());
    }
  }
  std::ranges::stable_sort(taken, {}, [](const ValueWrite& write) { return write.value.get(); });
  const std::uint64_t bytes = taken.size() * layout_.slice_bytes;
  const std::size_t per_job = std::max<std::size_t>(1, JobBytes(bytes) / layout_.slice_bytes);
  for (std::size_t at = 0; at < taken.size(); at += per_job) {
    const std::size_t end = std::min(taken.size(), at + per_job);
    SubmitWrites(work, {taken.begin() + static_cast<std::ptrdiff_t>(at),
                        taken.begin() + static_cast<std::ptrdiff_t>(end)});
  }
  return work.id;
}

void RedisStore::SubmitWrites(const Work& work, std::vector<ValueWrite> writes) {
  const std::uint64_t bytes = writes.size() * layout_.slice_bytes;
  const auto shared = std::make_shared<std::vector<ValueWrite>>(std::move(writes));
  const auto fail = [this, work, shared](const Error& why) {
    for (const ValueWrite& write : *shared) {
      const Error error{why.code, "block " + write.value->head.id.Hex() + ": " + why.message};
      writer_.Fail(*write.value, error);
      FailWrite(work, write.part, error);
    }
  };
  if (!pool_->Admit(bytes, FromNow())) {
    return fail(DeadlineExceeded("the queue of dumps had no room for " +
                                 std::to_string(timeout_.count()) + " ms"));
  }
  const auto drop = [fail] { fail(Cancelled("the dump was cancelled")); };
  const auto run = [this, work, shared, drop] {
    if (!work.task->Enter()) return drop();
    writer_.Write(*shared, FromNow());
    for (const ValueWrite& write : *shared) EndWrite(work, write);
    work.task->Leave();
  };
  pool_->Submit(IoPool::Lane::kDump, {.tag = work.id, .bytes = bytes, .run = run, .drop = drop});
}

void RedisStore::EndWrite(const Work& work, const ValueWrite& write) {
  if (!write.status) return FailWrite(work, write.part, write.status.error());
  Count([&](StoreStats& stats) {
    stats.dumped_bytes += layout_.slice_bytes;
    stats.dump_seconds += SecondsSince(work.submitted);
    if (write.committed) ++stats.dumped_blocks;
  });
  work.task->Succeed(layout_.slice_bytes);
}

void RedisStore::FailWrite(const Work& work, std::size_t part, const Error& error) {
  Count([&](StoreStats& stats) {
    ++stats.dump_failures;
    stats.dump_seconds += SecondsSince(work.submitted);
    if (error.code == ErrorCode::kCancelled) ++stats.cancelled_parts;
  });
  work.task->Fail(part, error);
}

void RedisStore::Abandon(const BlockId& id) {
  writer_.Abandon(id);
  SweepSoon();
}

void RedisStore::SweepSoon() {
  if (!writer_.HasLeftovers()) return;
  const auto run = [this] { writer_.Sweep(FromNow()); };
  pool_->Submit(IoPool::Lane::kPrefetch, {.run = run, .drop = [] {}});
}

Status RedisStore::CheckRead(const SliceRead& read) const {
  const bool known =
      read.part < layout_.num_slices || read.part == kRepresentations || read.part == kTokens;
  if (known && read.destination != nullptr) return {};
  return InvalidArgument("block " + read.id.Hex() + ": part " + std::to_string(read.part) +
                         " is out of range, or without a destination");
}

Result<TaskId> RedisStore::Load(std::vector<SliceRead> reads) {
  const Work work = NewWork(reads.size());
  std::vector<ValueRead> sound;
  std::uint64_t task_bytes = 0;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    ValueRead read{i, reads[i], CheckRead(reads[i])};
    if (!read.status) {
      EndRead(work, read);
      continue;
    }
    task_bytes += reader_.PartBytes(reads[i].part);
    sound.push_back(std::move(read));
  }
  std::ranges::sort(sound, {},
                    [](const ValueRead& r) { return std::pair(r.read.id, r.read.part); });
  const std::uint64_t job_bytes = JobBytes(task_bytes);
  std::vector<ValueRead> job;
  std::uint64_t bytes = 0;
  for (ValueRead& read : sound) {
    bytes += reader_.PartBytes(read.read.part);
    job.push_back(std::move(read));
    if (bytes < job_bytes) continue;
    SubmitReads(work, std::exchange(job, {}));
    bytes = 0;
  }
  if (!job.empty()) SubmitReads(work, std::move(job));
  return work.id;
}

void RedisStore::SubmitReads(const Work& work, std::vector<ValueRead> reads) {
  const auto shared = std::make_shared<std::vector<ValueRead>>(std::move(reads));
  const auto drop = [this, work, shared] {
    for (ValueRead& read : *shared) {
      read.status = Cancelled("the load was cancelled");
      EndRead(work, read);
    }
  };
  const auto run = [this, work, shared, drop] {
    if (!work.task->Enter()) return drop();
    reader_.Read(*shared, work.submitted + timeout_);
    for (const ValueRead& read : *shared) EndRead(work, read);
    work.task->Leave();
  };
  pool_->Submit(IoPool::Lane::kLoad, {.tag = work.id, .run = run, .drop = drop});
}

void RedisStore::EndRead(const Work& work, const ValueRead& read) {
  const std::uint64_t bytes = reader_.PartBytes(read.read.part);
  Count([&](StoreStats& stats) {
    stats.load_seconds += SecondsSince(work.submitted);
    if (!read.status) {
      ++stats.load_failures;
      if (read.status.error().code == ErrorCode::kCancelled) ++stats.cancelled_parts;
      return;
    }
    if (read.read.part < layout_.num_slices) ++stats.loaded_slices;
    stats.loaded_bytes += bytes;
  });
  read.status.ok() ? work.task->Succeed(bytes) : work.task->Fail(read.part, read.status.error());
}

void RedisStore::Cancel(TaskId task) {
  tasks_.Cancel(task, [this](TaskId id) { pool_->Drop(id); });
  SweepSoon();
}

Status RedisStore::Remove(const BlockId& id) {
  ESA_ASSIGN_OR_RETURN(const bool removed, reader_.Remove(id, FromNow()));
  if (!removed) return NotFound("block " + id.Hex() + " is not stored");
  return {};
}

// The server is asked, since it evicts and other processes write.
StoreStats RedisStore::Stats() const {
  const auto blocks = reader_.Count(steady_clock::now() + std::min(timeout_, kPatience));
  if (blocks) Count([&](StoreStats& counters) { counters.blocks = *blocks; });
  StoreStats stats;
  {
    std::lock_guard lock(counters_mutex_);
    stats = counters_;
  }
  stats.backend = "redis";
  stats.bytes = stats.blocks * BlockAreas(layout_).file_bytes;
  stats.quarantined_blocks = reader_.quarantined();
  stats.foreign_blocks = reader_.foreign();
  stats.pending_tasks = tasks_.Pending();
  return stats;
}

// A promise that Redis keeps or breaks by its own configuration is refused rather than ignored.
Status CheckConfig(const StoreConfig& config) {
  // Above other tiers it is these that bound and sync.
  const bool lowest = config.backend.find('|') == std::string::npos;
  if (lowest && config.capacity_bytes != 0) {
    return Unsupported("capacity_bytes: is " + std::to_string(config.capacity_bytes) +
                       ", expected 0 with redis: the server bounds itself by its own maxmemory");
  }
  if (lowest && config.durability != Durability::kNone) {
    return Unsupported(
        "durability: is commit, expected none with redis as the lowest tier: what survives a loss "
        "of power is set by the server's own appendonly and appendfsync");
  }
  // Also when the variable is empty: a secret that did not arrive must not turn encryption off.
  if (!config.encryption_key_file.empty() || std::getenv(kStoreKeyVariable) != nullptr) {
    return Unsupported(
        "encryption_key_file: is set, or ESA_STORE_KEY, expected neither with redis, which keeps "
        "plain blocks");
  }
  if (config.io_threads < 1 || config.io_threads > kMaxIoThreads) {
    return InvalidArgument("io_threads: is " + std::to_string(config.io_threads) +
                           ", expected 1 to " + std::to_string(kMaxIoThreads));
  }
  if (config.timeout_ms < 1) {
    return InvalidArgument("timeout_ms: is " + std::to_string(config.timeout_ms) +
                           ", expected at least 1");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<BlockStore>> CreateRedisStore(const StoreConfig& config,
                                                     const BlockLayout& layout) {
  ESA_RETURN_IF_ERROR(CheckConfig(config));
  ESA_ASSIGN_OR_RETURN(RedisUrl url, ParseRedisUrl(config.redis_url));
  auto store = std::make_unique<RedisStore>(std::move(url), config, layout);
  ESA_RETURN_IF_ERROR(store->Connect());
  return std::unique_ptr<BlockStore>(std::move(store));
}

}  // namespace esa
