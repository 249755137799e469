// Blocks being written: gathers their slices in temporary keys and commits the full ones.
//
// Of a block only its representations, checksums and tokens are held here; its slices go to the
// server at once. docs/formats/redis.md tells the life of a key.
// Threading: all methods from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "esa/block_store.h"
#include "store/block_id_hash.h"
#include "store/posix/block_format.h"
#include "store/redis/connection_pool.h"
#include "store/redis/key_names.h"

namespace esa {

// A block being written, shared by the writer's table and the jobs that write to it.
struct OpenValue {
  std::string temporary;  // its key while it is written

  std::mutex mutex;  // guards all below; never held while the server is asked
  BlockHead head;
  std::vector<std::byte> representations;  // [num_slices, representation_bytes]
  std::vector<bool> taken;                 // [num_slices]; of which a write was accepted
  std::uint32_t num_written = 0;
  std::uint32_t num_writing = 0;
  bool full_size = false;        // the server has made room for all of it
  bool discarded = false;        // its key is, or is about to be, removed
  std::optional<Error> failure;  // nothing more is written
};

struct ValueWrite {
  std::size_t part = 0;  // of the task
  std::shared_ptr<OpenValue> value;
  std::uint32_t slice = 0;
  const std::byte* data = nullptr;  // [slice_bytes]
  Status status;                    // out
  bool committed = false;           // out: the block is visible with this slice
};

class ValueWriter {
 public:
  using Deadline = BlockStore::Deadline;

  ValueWriter(ConnectionPool& connections, const BlockLayout& layout);

  // False: open already. Errors: those of the connection; kResourceExhausted, the server is full.
  Result<bool> Begin(const BlockKey& key, const BlockId& parent, Deadline deadline);

  bool IsOpen(const BlockId& id) const;

  // Accepts one slice and copies its representation. kNotFound: not open; kInvalidArgument: not a
  // slice that can be written, which fails the block; the failure of the block.
  Result<std::shared_ptr<OpenValue>> Take(const SliceWrite& write);

  // Writes accepted slices, those of one block standing together: one round trip, and another for
  // the blocks that are full with them, which it commits.
  void Write(std::span<ValueWrite> writes, Deadline deadline);

  // No slice of the block will be written any more. Both only take note; Sweep removes the key.
  void Fail(OpenValue& value, Error error);
  void Abandon(const BlockId& id);
  void AbandonAll();

  // Removes the keys of blocks that failed. What it cannot remove expires on the server.
  void Sweep(Deadline deadline);
  void SweepOn(RedisConnection& connection);
  bool HasLeftovers() const;

 private:
  // These hold the value's mutex.
  void FailLocked(OpenValue& value, Error error);
  void DiscardIfIdle(OpenValue& value);

  bool Enter(ValueWrite& write);
  void Transfer(RedisConnection& connection, std::span<ValueWrite* const> writes);
  void AskBlock(RedisConnection& connection, std::span<ValueWrite* const> writes, bool make_room);
  Status AnswerBlock(RedisConnection& connection, std::size_t num_writes, bool make_room);
  bool Settle(ValueWrite& write, const PartSeal& seal);
  void Commit(RedisConnection& connection, std::span<ValueWrite* const> last);
  Result<std::vector<std::byte>> FrontOf(OpenValue& value) const;
  void EndCommit(ValueWrite& write, const Result<std::int64_t>& outcome);

  ConnectionPool& connections_;
  const BlockLayout layout_;
  const BlockAreas areas_;
  const RedisKeyNames names_;
  const std::string owner_;
  std::atomic<std::uint64_t> next_temporary_{0};
  mutable std::mutex mutex_;  // taken after a value's, never before
  std::unordered_map<BlockId, std::shared_ptr<OpenValue>, BlockIdHash> values_;  // by mutex_
  std::vector<std::string> leftovers_;  // guarded by mutex_; keys to remove
};

}  // namespace esa
