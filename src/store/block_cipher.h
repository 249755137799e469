// Encryption of blocks at rest: AES-256-GCM (NIST SP 800-38D) under a key of each file's own.
//
// A file's key is HMAC-SHA256 of the store's key over "esa block key", the file's salt and its
// block's id. The salt is drawn for every file that is written, so the nonce within a file may be
// the number of the part, and no two parts ever meet under one key and nonce. In exchange a part
// must be sealed once for a salt: to write other bytes in its place takes a new file.
// docs/formats/block.md says what is bound as `bound`; docs/security.md says against whom.
// Threading: all from any thread. Each thread keeps one context of OpenSSL, and in it the last
// file's key it used, until it ends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "esa/block_store.h"
#include "esa/result.h"
#include "store/secret_key.h"

namespace esa {

using BlockSalt = std::array<std::uint8_t, 16>;
using PartTag = std::array<std::uint8_t, 16>;

// kIoError: the system has no random bytes to give.
Result<BlockSalt> RandomSalt();

class BlockCipher {
 public:
  explicit BlockCipher(SecretKey key) : key_(std::move(key)) {}

  // Of the file of this salt that holds block `id`.
  SecretKey FileKey(const BlockSalt& salt, const BlockId& id) const;

 private:
  const SecretKey key_;
};

// `stored` is as long as `plain`; they are the same bytes or do not overlap. `part` is the index of
// a slice, kRepresentations or kTokens. `bound` is authenticated beside the part and kept
// elsewhere. kIoError: OpenSSL failed.
Status SealBytes(const SecretKey& file_key, std::uint32_t part, std::span<const std::byte> bound,
                 std::span<const std::byte> plain, std::span<std::byte> stored, PartTag* tag);

// kDataError: not what was sealed, or under another key; `plain` is all zeros then.
Status OpenBytes(const SecretKey& file_key, std::uint32_t part, std::span<const std::byte> bound,
                 std::span<const std::byte> stored, const PartTag& tag, std::span<std::byte> plain);

}  // namespace esa
