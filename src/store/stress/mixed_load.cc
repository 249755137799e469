#include "store/stress/mixed_load.h"

#include <cstring>
#include <memory>
#include <span>
#include <thread>

#include "base/random.h"
#include "store/posix/file_names.h"
#include "store/posix/packed_files.h"

namespace esa::testing {
namespace {

class Worker {
 public:
  Worker(BlockStore& store, const std::vector<SampleBlock>& blocks, const MixedLoadOptions& options,
         std::size_t index)
      : store_(store),
        blocks_(blocks),
        options_(options),
        index_(index),
        random_(options.seed * 1000 + index) {}

  void Run() {
    while (std::chrono::steady_clock::now() < options_.end) Step();
  }

  const MixedLoadCounts& counts() const { return counts_; }

 private:
  void Step() {
    const std::size_t block = random_.Below(blocks_.size());
    const auto choice = random_.Below(100);
    if (choice < 40) {
      Dump(block);
    } else if (choice < 75) {
      Load(block);
    } else if (choice < 90) {
      Lookup(block);
    } else if (choice < 94) {
      Remove(block);
    } else if (choice < 96) {
      PinAwhile(block);
    } else if (choice < 99) {
      LoadAndCancel(block);
    } else {
      Vandalize(block);
    }
  }

  // A block that may be promised is written and removed by one thread, so that the order of its
  // reports is the order of what happened.
  bool Owns(std::size_t block) const {
    return block % static_cast<std::size_t>(options_.threads) == index_;
  }

  void Dump(std::size_t index) {
    if (!Owns(index)) return;
    const SampleBlock& block = blocks_[index];
    const Result<bool> begun = store_.Begin(block.key(), block.parent());
    if (!begun || !*begun) return;
    ++counts_.dumps;
    std::vector<SliceWrite> writes = block.Writes();
    const std::size_t first = random_.Below(writes.size());
    std::vector<SliceWrite> rest(writes.begin() + static_cast<std::ptrdiff_t>(first), writes.end());
    writes.resize(first);
    const Result<TaskId> one = store_.Dump(std::move(writes)), other = store_.Dump(std::move(rest));
    // Both are waited for, whatever becomes of the first.
    const bool one_succeeded = Succeeded(one);
    if (!Succeeded(other) || !one_succeeded) {
      ++counts_.failed_dumps;
      store_.Abandon(block.id());
      return;
    }
    options_.on_committed(index);
  }

  bool Succeeded(const Result<TaskId>& task) {
    if (!task) return false;
    const Result<TaskResult> result = store_.Wait(*task, Soon());
    return result.ok() && result->failures.empty();
  }

  std::uint32_t AnyPart() {
    const std::uint32_t slices = blocks_[0].layout().num_slices;
    const auto part = static_cast<std::uint32_t>(random_.Below(slices + 2));
    return part < slices ? part : part == slices ? kRepresentations : kTokens;
  }

  void Load(std::size_t index) {
    for (int i = 0; i < 4; ++i) {
      const Status status = LoadPart(store_, blocks_[index], AnyPart());
      ++counts_.loads;
      if (status.ok()) continue;
      if (ServedWrongBytes(status)) {
        ++counts_.wrong_bytes;
      } else if (status.error().code == ErrorCode::kNotFound) {
        ++counts_.missed_loads;
      } else {
        ++counts_.failed_loads;
      }
    }
  }

  void Lookup(std::size_t index) {
    std::vector<BlockKey> keys;
    for (std::size_t i = index; i < blocks_.size() && keys.size() < 8; ++i) {
      keys.push_back(blocks_[i].key());
    }
    counts_.lookups += keys.size();
    if (random_.Below(4) == 0) {
      counts_.hits += store_.LookupPrefix(keys);
    } else {
      for (const bool hit : store_.Lookup(keys)) counts_.hits += hit ? 1 : 0;
    }
  }

  void Remove(std::size_t index) {
    if (!Owns(index)) return;
    options_.on_removing(index);
    ++counts_.removes;
    (void)store_.Remove(blocks_[index].id());
  }

  void PinAwhile(std::size_t index) {
    const BlockId ids[] = {blocks_[index].id()};
    store_.Pin(ids);
    Load(index);
    store_.Unpin(ids);
  }

  void LoadAndCancel(std::size_t index) {
    const SampleBlock& block = blocks_[index];
    const std::uint64_t bytes = block.layout().slice_bytes;
    const std::uint32_t slices = block.layout().num_slices;
    const AlignedBuffer buffer = MakeAligned(slices * bytes);
    std::vector<SliceRead> reads;
    for (std::uint32_t i = 0; i < slices; ++i) {
      reads.push_back({block.id(), i, buffer.get() + i * bytes});
    }
    const Result<TaskId> task = store_.Load(reads);
    if (!task) return;
    ++counts_.cancels;
    store_.Cancel(*task);
    const Result<TaskResult> result = store_.Wait(*task, Soon());
    if (!result) return;
    std::vector<bool> failed(slices);
    for (const PartFailure& failure : result->failures) failed[failure.index] = true;
    for (std::uint32_t i = 0; i < slices; ++i) {
      if (failed[i]) continue;
      ++counts_.loads;
      if (std::memcmp(reads[i].destination, block.slice(i), bytes) != 0) ++counts_.wrong_bytes;
    }
  }

  void Vandalize(std::size_t index) {
    if (options_.vandalized_folder.empty() || index < options_.pinned_blocks) return;
    const std::string path = BlockPath(options_.vandalized_folder, blocks_[index].id());
    counts_.vanished += files_->Remove(path).ok() ? 1 : 0;
  }

  BlockStore& store_;
  const std::vector<SampleBlock>& blocks_;
  const MixedLoadOptions& options_;
  const std::size_t index_;
  SplitMix64 random_;
  MixedLoadCounts counts_;
  const std::shared_ptr<FileSystem> files_ = MakePackedFiles(MakeRealFileSystem());
};

}  // namespace

MixedLoadCounts& MixedLoadCounts::operator+=(const MixedLoadCounts& other) {
  dumps += other.dumps;
  failed_dumps += other.failed_dumps;
  lookups += other.lookups;
  hits += other.hits;
  loads += other.loads;
  missed_loads += other.missed_loads;
  failed_loads += other.failed_loads;
  wrong_bytes += other.wrong_bytes;
  removes += other.removes;
  vanished += other.vanished;
  cancels += other.cancels;
  return *this;
}

std::vector<SampleBlock> MakeBlocks(std::uint32_t first_seed, std::size_t count,
                                    const BlockLayout& layout) {
  constexpr std::uint32_t kChain = 8;
  std::vector<SampleBlock> blocks;
  for (std::uint32_t seed = first_seed; blocks.size() < count; seed += kChain) {
    for (SampleBlock& block : SampleChain(seed, kChain, layout)) {
      if (blocks.size() < count) blocks.push_back(std::move(block));
    }
  }
  return blocks;
}

MixedLoadCounts RunMixedLoad(BlockStore& store, const std::vector<SampleBlock>& blocks,
                             const MixedLoadOptions& options) {
  for (std::size_t i = 0; i < options.pinned_blocks; ++i) {
    const BlockId ids[] = {blocks[i].id()};
    store.Pin(ids);
  }
  std::vector<Worker> workers;
  for (std::size_t i = 0; i < static_cast<std::size_t>(options.threads); ++i) {
    workers.emplace_back(store, blocks, options, i);
  }
  {
    std::vector<std::jthread> threads;
    for (Worker& worker : workers) threads.emplace_back([&worker] { worker.Run(); });
  }
  MixedLoadCounts counts;
  for (const Worker& worker : workers) counts += worker.counts();
  return counts;
}

}  // namespace esa::testing
