// The bytes of a block file, version 2: constants, encoding, decoding, encryption of its parts.
//
// docs/formats/block.md tells the format in prose; block_format_test.cc holds a file built by hand.
// What cannot be read is either damaged, kDataError: it cannot be right where it is found; or
// foreign, kUnsupported: of another version, layout or key, and for all we know sound.
// Threading: pure functions of their arguments; a BlockHead is its owner's to guard.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "esa/result.h"
#include "store/block_cipher.h"

namespace esa {

inline constexpr char kBlockMagic[8] = {'E', 'S', 'A', 'B', 'L', 'O', 'C', 'K'};
inline constexpr std::uint32_t kBlockVersion = 2;
inline constexpr std::uint64_t kBlockAlignment = 4096;

// Offsets of the fixed fields; all integers little-endian.
inline constexpr std::size_t kVersionAt = 8;               // u32
inline constexpr std::size_t kBlockTokensAt = 12;          // u32
inline constexpr std::size_t kNumSlicesAt = 16;            // u32
inline constexpr std::size_t kRepresentationBytesAt = 20;  // u32
inline constexpr std::size_t kSliceBytesAt = 24;           // u64
inline constexpr std::size_t kIdAt = 32;                   // 16 bytes
inline constexpr std::size_t kParentAt = 48;               // 16 bytes
inline constexpr std::size_t kFileBytesAt = 64;            // u64
inline constexpr std::size_t kFlagsAt = 72;                // u64
inline constexpr std::size_t kSaltAt = 80;                 // 16 bytes
inline constexpr std::size_t kIdentityBytes = 96;          // what every tag covers: all before
inline constexpr std::size_t kTokensTagAt = 96;            // 16 bytes
inline constexpr std::size_t kRepresentationsTagAt = 112;  // 16 bytes
inline constexpr std::size_t kRepresentationsSumAt = 128;  // u64
inline constexpr std::size_t kFieldsSumAt = 136;           // u64, of all before
inline constexpr std::size_t kFieldsBytes = 144;
inline constexpr std::size_t kTokensAt = kFieldsBytes;  // i32 [block_tokens], padded to 8

inline constexpr std::uint64_t kEncryptedFlag = 1;

// Where the areas of a file of this layout stand, in bytes from its start.
struct BlockAreas {
  explicit BlockAreas(const BlockLayout& layout, bool encrypted = false);

  std::uint64_t sums;             // of the slices, u64 [num_slices]
  std::uint64_t tags;             // of the slices, 16 bytes [num_slices]; none in a plain file
  std::uint64_t head_sum;         // u64, of all bytes before it
  std::uint64_t representations;  // [num_slices, representation_bytes]
  std::uint64_t representations_bytes;
  std::uint64_t slices;  // [num_slices, slice_bytes]
  std::uint64_t file_bytes;

  std::uint64_t head_bytes() const { return head_sum + sizeof(std::uint64_t); }
};

// What a block file is, as its fixed fields say it.
struct BlockFields {
  BlockLayout layout;
  BlockId id;
  BlockId parent;
  bool encrypted = false;
  BlockSalt salt{};  // zero when plain
};

// The checksum of a part's bytes as stored, and when encrypted its tag.
struct PartSeal {
  std::uint64_t checksum = 0;
  PartTag tag{};
};

// A head in memory: its tokens are always plain. Checksums are of the bytes as stored.
struct BlockHead : BlockFields {
  std::optional<SecretKey> file_key;  // of an encrypted file that may be read or written
  std::vector<std::int32_t> tokens;   // [block_tokens]; empty in what VerifyHead returns
  PartSeal representations;
  std::vector<std::uint64_t> slice_checksums;  // [num_slices]
  std::vector<PartTag> slice_tags;             // [num_slices]; empty when plain

  PartSeal SealOf(std::uint32_t part) const;          // a slice's index, or kRepresentations
  void SetSeal(std::uint32_t part, const PartSeal&);  // as above
};

// --- Writing.

// The head of a block about to be written, without seals; with `cipher` encrypted, under a salt of
// its own. `key.tokens`: [layout.block_tokens]. kIoError: no random bytes.
Result<BlockHead> NewHead(const BlockLayout& layout, const BlockKey& key, const BlockId& parent,
                          const BlockCipher* cipher);

// The seal of a part, to be set once the part is written, by whoever guards the head: what is read
// of it here does not change while it is written. Encrypted: `stored` is as long as `plain` and
// gets the bytes to write, which may be the same memory. Plain: `plain` itself is to be written,
// and `stored` is not looked at. A part of other bytes must never be sealed under the same head.
// kIoError: OpenSSL failed.
Result<PartSeal> SealPart(const BlockHead& head, std::uint32_t part,
                          std::span<const std::byte> plain, std::span<std::byte> stored);

// to: at least head_bytes() of the head's areas; bytes beyond are left alone. kIoError: OpenSSL
// failed.
Status EncodeHead(const BlockHead& head, std::span<std::byte> to);

// --- Reading.

// The fixed fields, verified by their own checksum: they can be told from damage without knowing
// the layout or the key. from: at least kFieldsBytes, or damaged. Foreign: another version.
Result<BlockFields> DecodeFields(std::span<const std::byte> from);

// A verified head of just this layout and id, ready to open parts. `from`: the start of the file,
// as far as the areas of the layout and of the cipher reach, or cut short where the file ends.
// Foreign: another version or layout, encrypted under another key, encrypted without a cipher,
// plain with one: who may write to the folder shall not pass off blocks as ours.
Result<BlockHead> DecodeHead(std::span<const std::byte> from, const BlockLayout& layout,
                             const BlockId& id, const BlockCipher* cipher);

// A head of any layout, its checksums verified as far as that goes without the key: it has
// neither tokens nor a file key, and is good for VerifyPart alone. from: as for DecodeHead, by
// what DecodeFields said of it.
Result<BlockHead> VerifyHead(std::span<const std::byte> from, const BlockId& id);

// Are these the bytes that were written? part: a slice's index or kRepresentations.
Status VerifyPart(const BlockHead& head, std::uint32_t part, std::span<const std::byte> stored);

// Makes bytes as stored the part's own; `plain` is as long, and the same memory or apart. Does not
// look at the checksum. kDataError: whoever wrote this did not have the key; the key is the right
// one, since it opened the head. kIoError: OpenSSL failed.
Status OpenPart(const BlockHead& head, std::uint32_t part, std::span<const std::byte> stored,
                std::span<std::byte> plain);

}  // namespace esa
