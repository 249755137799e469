// The bytes of a block file, version 1: constants, encoding, decoding.
//
// docs/formats/block.md tells the format in prose; block_format_test.cc holds a file built by hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "esa/result.h"

namespace esa {

inline constexpr char kBlockMagic[8] = {'E', 'S', 'A', 'B', 'L', 'O', 'C', 'K'};
inline constexpr std::uint32_t kBlockVersion = 1;
inline constexpr std::uint64_t kBlockAlignment = 4096;

// Offsets of the fixed fields; all integers little-endian.
inline constexpr std::size_t kVersionAt = 8;               // u32
inline constexpr std::size_t kBlockTokensAt = 12;          // u32
inline constexpr std::size_t kNumSlicesAt = 16;            // u32
inline constexpr std::size_t kRepresentationBytesAt = 20;  // u32
inline constexpr std::size_t kSliceBytesAt = 24;           // u64
inline constexpr std::size_t kIdAt = 32;                   // 16 bytes
inline constexpr std::size_t kParentAt = 48;               // 16 bytes
inline constexpr std::size_t kNumTokensAt = 64;            // u64, equals block_tokens
inline constexpr std::size_t kFileBytesAt = 72;            // u64
inline constexpr std::size_t kRepresentationsSumAt = 80;   // u64
inline constexpr std::size_t kReservedAt = 88;             // u64, 0
inline constexpr std::size_t kTokensAt = 96;               // i32 [num_tokens], padded to 8

// Where the areas of a file of this layout stand, in bytes from its start.
struct BlockAreas {
  explicit BlockAreas(const BlockLayout& layout);

  std::uint64_t table;            // slice checksums, u64 [num_slices]
  std::uint64_t head_sum;         // u64, of all bytes before it
  std::uint64_t representations;  // [num_slices, representation_bytes]
  std::uint64_t representations_bytes;
  std::uint64_t slices;  // [num_slices, slice_bytes]
  std::uint64_t file_bytes;

  std::uint64_t head_bytes() const { return head_sum + sizeof(std::uint64_t); }
};

struct BlockHead {
  BlockLayout layout;
  BlockId id;
  BlockId parent;
  std::uint64_t representations_checksum = 0;
  std::vector<std::int32_t> tokens;            // [block_tokens]
  std::vector<std::uint64_t> slice_checksums;  // [num_slices]
};

// to: at least head_bytes() of the head's layout; bytes beyond are left alone.
void EncodeHead(const BlockHead& head, std::span<std::byte> to);

// What the fixed fields say, when magic, version and the layout's bounds hold. The checksum is not
// looked at: for listings and to say what a foreign file is. from: at least kTokensAt bytes.
Result<BlockLayout> DecodeLayout(std::span<const std::byte> from);

// A verified head of just this layout and id. kDataError: says which field differs and how.
Result<BlockHead> DecodeHead(std::span<const std::byte> from, const BlockLayout& layout,
                             const BlockId& id);

}  // namespace esa
