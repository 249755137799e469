// Reads parts of committed values and verifies them; keeps parsed heads at hand.
//
// A value is a block file (posix/block_format.h) under the block's name. One call is one pipeline:
// a single round trip whatever it asks for, and a second one for what did not verify.
// Threading: all methods from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "esa/block_store.h"
#include "store/block_id_hash.h"
#include "store/lru_cache.h"
#include "store/posix/block_format.h"
#include "store/redis/connection_pool.h"
#include "store/redis/key_names.h"

namespace esa {

struct ValueRead {
  std::size_t part = 0;  // of the task
  SliceRead read;        // valid for the layout
  Status status = {};    // out
};

class ValueReader {
 public:
  using Deadline = BlockStore::Deadline;
  using Head = std::shared_ptr<const BlockHead>;

  ValueReader(ConnectionPool& connections, const BlockLayout& layout, bool verify_checksums);

  // Per id the verified head of a value that is there, and whose use the server has noted. Errors,
  // of both: kNotFound, also of a foreign value (posix/block_format.h); kDataError (corrupt, cut
  // short; the value is out of the way now); those of the connection.
  std::vector<Result<Head>> Heads(std::span<const BlockId> ids, Deadline deadline);

  // Reads of one block stand together.
  void Read(std::span<ValueRead> reads, Deadline deadline);

  Result<bool> Remove(const BlockId& id, Deadline deadline);  // false: there was none
  Result<std::uint64_t> Count(Deadline deadline);             // values of this layout now

  std::uint64_t PartBytes(std::uint32_t part) const;
  std::uint64_t quarantined() const { return quarantined_.load(); }
  std::uint64_t foreign() const { return foreign_.load(); }  // heads

 private:
  struct HeadRequest {
    BlockId id;
    std::uint64_t ticket = 0;
    Head cached = {};
  };

  HeadRequest Ask(RedisConnection& connection, const BlockId& id);
  Result<Head> Answer(RedisConnection& connection, const HeadRequest& request);
  Result<Head> Decode(const HeadRequest& request, const std::string& bytes);
  void ReadOnce(std::span<ValueRead* const> reads, Deadline deadline);
  void AskPart(RedisConnection& connection, const SliceRead& read);
  Status AnswerPart(RedisConnection& connection, const SliceRead& read, const Result<Head>& head);
  Status Verify(const SliceRead& read, const BlockHead& head) const;
  std::uint64_t OffsetOf(std::uint32_t part) const;
  void Quarantine(const BlockId& id, Deadline deadline);

  ConnectionPool& connections_;
  const BlockLayout layout_;
  const BlockAreas areas_;
  const RedisKeyNames names_;
  const bool verify_checksums_;
  std::atomic<std::uint64_t> quarantined_{0};
  std::atomic<std::uint64_t> foreign_{0};
  LruCache<BlockId, const BlockHead, BlockIdHash> heads_;
};

}  // namespace esa
