// A persistent map from block ids to the bytes of blocks: the interface of every store backend.
//
// A store knows no model. A block is `num_slices` equally long slices and one representation per
// slice, all opaque bytes of a layout told at creation. Work is asynchronous: Dump, Load and
// Prefetch return a task at once; Poll, Wait and Cancel follow it. Results are per part of a task.
//
// Threading: every method may be called from any thread. Buffers named in a task belong to the
// caller and must stay valid until Wait, a true Poll, or Cancel has returned for that task.
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

// In place of a slice's index: all representations of the block, [num_slices, representation_bytes].
inline constexpr std::uint32_t kRepresentations = 0xffffffffu;

struct SliceWrite {
  BlockId id;
  std::uint32_t slice = 0;
  const std::byte* data = nullptr;            // [slice_bytes]
  const std::byte* representation = nullptr;  // [representation_bytes], copied before Dump returns
};

struct SliceRead {
  BlockId id;
  std::uint32_t part = 0;            // a slice's index, or kRepresentations
  std::byte* destination = nullptr;  // [slice_bytes] or [num_slices * representation_bytes]
};

struct PartFailure {
  std::size_t index = 0;  // into the task's request
  Error error;
};

struct TaskResult {
  std::vector<PartFailure> failures;  // by rising index; empty when all parts succeeded
  std::uint64_t bytes = 0;            // moved by the parts that succeeded
};

struct StoreStats {
  std::uint64_t blocks = 0;  // committed now
  std::uint64_t bytes = 0;   // committed now
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
  std::uint64_t pending_tasks = 0;
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
  // at once, when its last slice is written. False: it is committed already (or another writer of
  // this process has it open): there is nothing to dump.
  virtual Result<bool> Begin(const BlockKey& key, const BlockId& parent) = 0;

  // Writes slices of blocks opened by Begin. Blocks the caller while the bounded queue is full. A
  // failed part leaves its block uncommitted for good; Abandon removes what was written of it.
  virtual Result<TaskId> Dump(std::vector<SliceWrite> writes) = 0;
  virtual void Abandon(const BlockId& id) = 0;

  // Reads parts of committed blocks. A part that succeeds has been verified against its checksum;
  // the destination of a part that failed holds garbage.
  virtual Result<TaskId> Load(std::vector<SliceRead> reads) = 0;

  // True when the task has ended (Wait will not block) or is not known.
  virtual bool Poll(TaskId task) = 0;

  // Blocks until the task ends and forgets it. kDeadlineExceeded: still under way, wait again or
  // cancel. kNotFound: not a task, or forgotten already.
  virtual Result<TaskResult> Wait(TaskId task, Deadline deadline) = 0;

  // Ends and forgets a task. After the return no buffer of it is touched any more.
  virtual void Cancel(TaskId task) = 0;

  // A pinned block is never evicted. Pins are counted, belong to this process, and may be set on
  // blocks that are still open.
  virtual void Pin(std::span<const BlockId> ids) = 0;
  virtual void Unpin(std::span<const BlockId> ids) = 0;

  virtual Status Remove(const BlockId& id) = 0;

  virtual StoreStats Stats() const = 0;
};

// The backend that `config.backend` names. Errors: unknown name, an unusable folder.
Result<std::unique_ptr<BlockStore>> CreateBlockStore(const StoreConfig& config,
                                                     const BlockLayout& layout);

using BlockStoreFactory = std::function<Result<std::unique_ptr<BlockStore>>(const StoreConfig&,
                                                                            const BlockLayout&)>;

// Adds a backend of the user's own to the table. Error: the name is taken.
Status RegisterBlockStore(const std::string& name, BlockStoreFactory factory);

// Names of all backends, sorted.
std::vector<std::string> BlockStoreNames();

}  // namespace esa
