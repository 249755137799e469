#include "cli/store_bench/store_workload.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <numeric>

#include "base/status_macros.h"

namespace esa::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kHugePage = 2u << 20;

// Bytes of blocks whose tasks are under way together: far more than the disk's queue takes.
constexpr std::uint64_t kWindowBytes = 384u << 20;

constexpr std::uint32_t kBlocksOfASelection = 100;

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

class Stopwatch {
 public:
  Pass Stop(std::uint64_t bytes) const {
    const std::chrono::duration<double> taken = Clock::now() - start_;
    return {.bytes = bytes, .seconds = taken.count(), .cpu_seconds = CpuSeconds() - cpu_};
  }

 private:
  Clock::time_point start_ = Clock::now();
  double cpu_ = CpuSeconds();
};

Status Finish(BlockStore& store, TaskId task) {
  ESA_ASSIGN_OR_RETURN(const TaskResult result, store.Wait(task, BlockStore::Deadline::max()));
  if (result.failures.empty()) return {};
  return result.failures.front().error;
}

MappedBytes HugePages(std::size_t bytes) {
  const std::size_t mapped = (bytes + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return {};
  // The kernel gives huge pages at multiples of their size only.
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::size_t skip = (kHugePage - address % kHugePage) % kHugePage;
  auto* base = static_cast<std::byte*>(memory);
  if (skip > 0) munmap(base, skip);
  madvise(base + skip, mapped - skip, MADV_HUGEPAGE);
  return {base + skip, Unmap{mapped - skip}};
}

}  // namespace

void Unmap::operator()(std::byte* data) const { munmap(data, bytes); }

StoreWorkload::~StoreWorkload() {
  store_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(config_.folder, ignored);
}

Status StoreWorkload::OpenStore(bool verify, std::unique_ptr<BlockStore>* store) {
  StoreConfig config = config_.store;
  config.storage_backends = {config_.folder};
  config.verify_checksums = verify;
  ESA_ASSIGN_OR_RETURN(*store, CreateBlockStore(config, config_.layout));
  const std::size_t bytes = window_ * block_bytes();
  (*store)->RegisterMemory({source_.get(), bytes});
  (*store)->RegisterMemory({destination_.get(), bytes});
  return {};
}

Result<std::unique_ptr<StoreWorkload>> StoreWorkload::Open(const WorkloadConfig& config) {
  std::unique_ptr<StoreWorkload> workload(new StoreWorkload(config));
  workload->window_ = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(kWindowBytes / workload->block_bytes(), 2, config.blocks));
  const std::size_t bytes = workload->window_ * workload->block_bytes();
  workload->source_ = HugePages(bytes);
  workload->destination_ = HugePages(bytes);
  if (!workload->source_ || !workload->destination_) {
    return ResourceExhausted(fmt::format("cannot have {} bytes of memory", 2 * bytes));
  }
  std::memset(workload->destination_.get(), 0, bytes);
  for (std::size_t at = 0; at < bytes; at += sizeof(std::uint64_t)) {
    const std::uint64_t value = workload->random_();
    std::memcpy(workload->source_.get() + at, &value, sizeof(value));
  }
  workload->representation_.resize(config.layout.representation_bytes);
  for (std::uint32_t b = 0; b < config.blocks; ++b) {
    Block block;
    for (std::uint8_t& byte : block.id.bytes) {
      byte = static_cast<std::uint8_t>(workload->random_());
    }
    block.tokens.assign(config.layout.block_tokens, static_cast<std::int32_t>(b));
    workload->blocks_.push_back(std::move(block));
  }
  ESA_RETURN_IF_ERROR(workload->OpenStore(true, &workload->store_));
  return workload;
}

std::byte* StoreWorkload::Source(std::uint32_t block, std::uint32_t slice) {
  return source_.get() + (block % window_) * block_bytes() + slice * config_.layout.slice_bytes;
}

Result<Pass> StoreWorkload::Dump() {
  for (const Block& block : blocks_) (void)store_->Remove(block.id);
  sync();  // the filesystem frees their room now, not while we measure
  const Stopwatch stopwatch;
  std::deque<TaskId> running;
  for (std::uint32_t b = 0; b < config_.blocks; ++b) {
    const BlockKey key{blocks_[b].id, blocks_[b].tokens};
    ESA_ASSIGN_OR_RETURN(const bool opened, store_->Begin(key, {}));
    if (!opened) return IoError("bench: a removed block is still there");
    std::vector<SliceWrite> writes;
    for (std::uint32_t slice = 0; slice < config_.layout.num_slices; ++slice) {
      writes.push_back({.id = key.id,
                        .slice = slice,
                        .data = Source(b, slice),
                        .representation = representation_.data()});
    }
    ESA_ASSIGN_OR_RETURN(const TaskId task, store_->Dump(std::move(writes)));
    running.push_back(task);
    if (running.size() < window_) continue;
    ESA_RETURN_IF_ERROR(Finish(*store_, running.front()));
    running.pop_front();
  }
  for (const TaskId task : running) ESA_RETURN_IF_ERROR(Finish(*store_, task));
  return stopwatch.Stop(config_.blocks * block_bytes());
}

Result<Pass> StoreWorkload::Load() { return LoadFrom(*store_); }

Result<Pass> StoreWorkload::LoadUnverified() {
  std::unique_ptr<BlockStore> store;
  ESA_RETURN_IF_ERROR(OpenStore(false, &store));
  return LoadFrom(*store);
}

// As the engine does before it loads: the heads are at hand then.
Status StoreWorkload::LookUp(BlockStore& store) const {
  std::vector<BlockKey> keys;
  for (const Block& block : blocks_) keys.push_back({block.id, block.tokens});
  if (store.LookupPrefix(keys) == keys.size()) return {};
  return IoError("bench: a dumped block is missing");
}

Result<Pass> StoreWorkload::LoadFrom(BlockStore& store) {
  ESA_RETURN_IF_ERROR(LookUp(store));
  const std::uint64_t slice_bytes = config_.layout.slice_bytes;
  const Stopwatch stopwatch;
  struct Running {
    TaskId task;
    std::uint32_t block;
  };
  std::deque<Running> running;
  const auto finish_first = [&]() -> Status {
    const auto [task, block] = running.front();
    running.pop_front();
    ESA_RETURN_IF_ERROR(Finish(store, task));
    const std::uint32_t slice = block % config_.layout.num_slices;
    const std::byte* loaded =
        destination_.get() + (block % window_) * block_bytes() + slice * slice_bytes;
    if (std::memcmp(loaded, Source(block, slice), 4096) == 0) return {};
    return DataError("bench: wrong bytes were loaded");
  };
  for (std::uint32_t b = 0; b < config_.blocks; ++b) {
    if (running.size() == window_) ESA_RETURN_IF_ERROR(finish_first());
    std::vector<SliceRead> reads;
    std::byte* const to = destination_.get() + (b % window_) * block_bytes();
    for (std::uint32_t slice = 0; slice < config_.layout.num_slices; ++slice) {
      reads.push_back({blocks_[b].id, slice, to + slice * slice_bytes});
    }
    ESA_ASSIGN_OR_RETURN(const TaskId task, store.Load(std::move(reads)));
    running.push_back({task, b});
  }
  while (!running.empty()) ESA_RETURN_IF_ERROR(finish_first());
  return stopwatch.Stop(config_.blocks * block_bytes());
}

Result<Pass> StoreWorkload::LoadSelections(std::uint32_t count, std::uint32_t times,
                                           std::vector<double>* latencies) {
  const std::uint64_t slots = window_ * block_bytes() / config_.layout.slice_bytes;
  count = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, slots));
  std::vector<std::uint32_t> order(blocks_.size());
  std::iota(order.begin(), order.end(), 0u);
  const Stopwatch all;
  for (std::uint32_t i = 0; i < times; ++i) {
    std::ranges::shuffle(order, random_);
    const std::size_t among = std::min<std::size_t>(kBlocksOfASelection, order.size());
    std::vector<SliceRead> reads;
    for (std::uint32_t r = 0; r < count; ++r) {
      reads.push_back({blocks_[order[r % among]].id,
                       static_cast<std::uint32_t>(random_() % config_.layout.num_slices),
                       destination_.get() + r * config_.layout.slice_bytes});
    }
    const Stopwatch one;
    ESA_ASSIGN_OR_RETURN(const TaskId task, store_->Load(std::move(reads)));
    ESA_RETURN_IF_ERROR(Finish(*store_, task));
    latencies->push_back(one.Stop(0).seconds);
  }
  return all.Stop(std::uint64_t{times} * count * config_.layout.slice_bytes);
}

Result<double> StoreWorkload::WarmLookup() {
  ESA_RETURN_IF_ERROR(LookUp(*store_));
  const Stopwatch stopwatch;
  ESA_RETURN_IF_ERROR(LookUp(*store_));
  return stopwatch.Stop(0).seconds;
}

}  // namespace esa::cli
