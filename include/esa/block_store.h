// A persistent map from block ids to the bytes of blocks: the interface of every store backend.
//
// A store knows no model. A block is `num_slices` equally long slices and one representation per
// slice, all opaque bytes of a layout told at creation. Work is asynchronous: Dump, Load and
// Prefetch return a task at once; Poll, Wait and Cancel follow it. Results are per part of a task.
//
// Threading: every method may be called from any thread. Buffers named in a task are the store's
// until Wait has ended the task or Poll says true; Cancel makes that sooner, not at once.
#pragma once

#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "esa/config.h"
#include "esa/result.h"

namespace esa {

// 128 bits that name a block: a keyed hash of the parent's id and the block's token ids.
struct BlockId {
  std::array<std::uint8_t, 16> bytes{};
  auto operator<=>(const BlockId&) const = default;
  std::string Hex() const;  // 32 lower-case hexadecimal digits
};

// What a caller believes a block to be. A lookup compares the tokens, not only the id.
struct BlockKey {
  BlockId id;
  std::span<const std::int32_t> tokens;  // [block_tokens]
};

struct BlockLayout {
  std::uint32_t block_tokens = 0;
  std::uint32_t num_slices = 0;            // layers * kv_heads, in this order
  std::uint64_t slice_bytes = 0;           // a multiple of 4096
  std::uint32_t representation_bytes = 0;  // of one slice
  bool operator==(const BlockLayout&) const = default;
};

using TaskId = std::uint64_t;

// In place of a slice's index: all representations of the block, [num_slices,
// representation_bytes], or its token ids, i32 [block_tokens].
inline constexpr std::uint32_t kRepresentations = 0xffffffffu;
inline constexpr std::uint32_t kTokens = 0xfffffffeu;

struct SliceWrite {
  BlockId id;
  std::uint32_t slice = 0;
  const std::byte* data = nullptr;            // [slice_bytes]
  const std::byte* representation = nullptr;  // [representation_bytes], copied before Dump returns
};

struct SliceRead {
  BlockId id;
  std::uint32_t part = 0;            // a slice's index, kRepresentations or kTokens
  std::byte* destination = nullptr;  // as many bytes as the part has
};

// Runs `work` on several threads of the caller's at the same time, and returns when all are done.
using Crew = std::function<void(const std::function<void()>& work)>;

struct PartFailure {
  std::size_t index = 0;  // into the task's request
  Error error;
};

struct TaskResult {
  std::vector<PartFailure> failures;  // by rising index; empty when all parts succeeded
  std::uint64_t bytes = 0;            // moved by the parts that succeeded
};

// What a store may do with a block that it is offered.
enum class Admission {
  kOptional,  // may refuse it: not touched twice yet, the day's writes are used up
  kRequired,  // the caller has no other place for it
};

// Counters since the store was opened, except where it says now. Documented as metrics in
// docs/metrics.md. Of a stack the figures are those that its user sees; each tier has its own.
struct StoreStats {
  std::string backend = {};
  std::uint64_t blocks = 0;          // committed now
  std::uint64_t bytes = 0;           // committed now
  std::uint64_t capacity_bytes = 0;  // 0: not bounded
  std::uint64_t lookup_hits = 0;
  std::uint64_t lookup_misses = 0;
  std::uint64_t dumped_blocks = 0;
  std::uint64_t dumped_bytes = 0;
  std::uint64_t loaded_slices = 0;
  std::uint64_t loaded_bytes = 0;
  std::uint64_t evicted_blocks = 0;
  std::uint64_t quarantined_blocks = 0;  // corrupt: moved aside, never served
  std::uint64_t dump_failures = 0;       // parts
  std::uint64_t load_failures = 0;       // parts
  std::uint64_t cancelled_parts = 0;     // of the failures
  std::uint64_t refused_blocks = 0;      // by admission
  std::uint64_t foreign_blocks = 0;      // of another version, layout or key: misses
  std::uint64_t promoted_blocks = 0;     // brought to an upper tier
  std::uint64_t removed_leftovers = 0;   // temporary files of writers that died
  double dump_seconds = 0;               // of parts, from Dump to their end, summed
  double load_seconds = 0;               // of parts, from Load to their end, summed
  std::uint64_t io_threads = 0;          // now; of a store on files
  std::uint64_t uring_threads = 0;       // now; of these, which have io_uring
  std::uint64_t direct_folders = 0;      // now; which are read and written with O_DIRECT
  std::uint64_t pending_tasks = 0;       // now
  std::uint64_t unwritten_bytes = 0;     // now; accepted, not yet in the lowest tier
  std::vector<StoreStats> tiers = {};    // of a stack, from the nearest on
};

class BlockStore {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  virtual ~BlockStore() = default;

  virtual const BlockLayout& layout() const = 0;

  // Per key: is the block committed here, with these very tokens? A hit counts as a use.
  virtual std::vector<bool> Lookup(std::span<const BlockKey> keys) = 0;

  // How many leading keys are hits.
  virtual std::size_t LookupPrefix(std::span<const BlockKey> keys) = 0;

  // Brings blocks nearer (page cache, upper tier), best effort.
  virtual Result<TaskId> Prefetch(std::span<const BlockId> ids) = 0;

  // Opens an uncommitted block, which Dump fills in any order of slices. It becomes visible, all
  // at once, when its last slice is written. False: there is nothing to dump, since it is committed
  // already, another writer of this process has it open, or admission refused it.
  virtual Result<bool> Begin(const BlockKey& key, const BlockId& parent,
                             Admission admission = Admission::kRequired) = 0;

  // Writes slices of blocks opened by Begin. Blocks the caller while the bounded queue is full. A
  // failed part leaves its block uncommitted for good; Abandon removes what was written of it.
  virtual Result<TaskId> Dump(std::vector<SliceWrite> writes) = 0;
  virtual void Abandon(const BlockId& id) = 0;

  // Reads parts of committed blocks. A part that succeeds has been verified against its checksum;
  // the destination of a part that failed holds garbage.
  virtual Result<TaskId> Load(std::vector<SliceRead> reads) = 0;

  // The same, for a caller whose threads take all cores: what can be had without waiting for a disk
  // is copied by them before this returns, since other threads would take turns with them.
  virtual Result<TaskId> LoadWith(const Crew& crew, std::vector<SliceRead> reads) {
    (void)crew;
    return Load(std::move(reads));
  }

  // True when the task has ended (Wait will not block) or is not known.
  virtual bool Poll(TaskId task) = 0;

  // Blocks until the task ends and forgets it. kDeadlineExceeded: still under way, wait again or
  // cancel. kNotFound: not a task, or forgotten already.
  virtual Result<TaskResult> Wait(TaskId task, Deadline deadline) = 0;

  // Asks a task to end soon, and returns at once: parts that nothing works on yet fail with
  // kCancelled, the others end by themselves. Whoever cancels must still Wait, or Poll until true,
  // before the buffers are his again: a disk that hangs cannot be made to let go of them.
  virtual void Cancel(TaskId task) = 0;

  // Returns when everything dumped before is where it survives this process: at once, unless a
  // tier writes behind. kDeadlineExceeded; the first error of writing behind since the last call.
  virtual Status Flush(Deadline deadline) {
    (void)deadline;
    return {};
  }

  // A hint: most buffers of tasks will lie in here. It must stay mapped as long as the store lives.
  virtual void RegisterMemory(std::span<std::byte> memory) { (void)memory; }

  // This store never evicts a pinned block; docs/capacity.md says how far other processes know of
  // it. Pins are counted, belong to this process, and may be set on blocks that are still open.
  virtual void Pin(std::span<const BlockId> ids) = 0;
  virtual void Unpin(std::span<const BlockId> ids) = 0;

  virtual Status Remove(const BlockId& id) = 0;

  virtual StoreStats Stats() const = 0;
};

// The backend that `config.backend` names, or the stack of backends, such as "memory|posix".
// Errors: unknown name, an unusable folder or server; kUnsupported: the configuration asks for what
// the backend cannot promise (of redis: capacity_bytes, durability, encryption).
Result<std::unique_ptr<BlockStore>> CreateBlockStore(const StoreConfig& config,
                                                     const BlockLayout& layout);

using BlockStoreFactory =
    std::function<Result<std::unique_ptr<BlockStore>>(const StoreConfig&, const BlockLayout&)>;

// Adds a backend of the user's own to the table. Error: the name is taken.
Status RegisterBlockStore(const std::string& name, BlockStoreFactory factory);

// Names of all backends, sorted.
std::vector<std::string> BlockStoreNames();

}  // namespace esa
