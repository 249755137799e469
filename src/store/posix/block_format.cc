#include "store/posix/block_format.h"

#include <bit>
#include <cstring>

#include "base/check.h"
#include "store/checksum.h"
#include "store/layout_check.h"

namespace esa {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

template <class T>
void Put(std::span<std::byte> to, std::size_t at, const T& value) {
  std::memcpy(to.data() + at, &value, sizeof(T));
}

template <class T>
T Get(std::span<const std::byte> from, std::size_t at) {
  T value;
  std::memcpy(&value, from.data() + at, sizeof(T));
  return value;
}

Error Differs(const char* field, std::uint64_t found, std::uint64_t expected) {
  return DataError(std::string(field) + " is " + std::to_string(found) + ", expected " +
                   std::to_string(expected));
}

Status CheckSameLayout(const BlockLayout& found, const BlockLayout& expected) {
  if (found.block_tokens != expected.block_tokens) {
    return Differs("block_tokens", found.block_tokens, expected.block_tokens);
  }
  if (found.num_slices != expected.num_slices) {
    return Differs("num_slices", found.num_slices, expected.num_slices);
  }
  if (found.slice_bytes != expected.slice_bytes) {
    return Differs("slice_bytes", found.slice_bytes, expected.slice_bytes);
  }
  if (found.representation_bytes != expected.representation_bytes) {
    return Differs("representation_bytes", found.representation_bytes,
                   expected.representation_bytes);
  }
  return {};
}

}  // namespace

BlockAreas::BlockAreas(const BlockLayout& layout)
    : table(RoundUp(kTokensAt + sizeof(std::int32_t) * std::uint64_t{layout.block_tokens}, 8)),
      head_sum(table + sizeof(std::uint64_t) * std::uint64_t{layout.num_slices}),
      representations(RoundUp(head_sum + sizeof(std::uint64_t), kBlockAlignment)),
      representations_bytes(std::uint64_t{layout.num_slices} * layout.representation_bytes),
      slices(RoundUp(representations + representations_bytes, kBlockAlignment)),
      file_bytes(slices + layout.num_slices * layout.slice_bytes) {}

void EncodeHead(const BlockHead& head, std::span<std::byte> to) {
  const BlockAreas areas(head.layout);
  ESA_CHECK(to.size() >= areas.head_bytes());
  ESA_CHECK(head.tokens.size() == head.layout.block_tokens);
  ESA_CHECK(head.slice_checksums.size() == head.layout.num_slices);
  std::memset(to.data(), 0, areas.head_bytes());
  std::memcpy(to.data(), kBlockMagic, sizeof(kBlockMagic));
  Put(to, kVersionAt, kBlockVersion);
  Put(to, kBlockTokensAt, head.layout.block_tokens);
  Put(to, kNumSlicesAt, head.layout.num_slices);
  Put(to, kRepresentationBytesAt, head.layout.representation_bytes);
  Put(to, kSliceBytesAt, head.layout.slice_bytes);
  Put(to, kIdAt, head.id.bytes);
  Put(to, kParentAt, head.parent.bytes);
  Put(to, kNumTokensAt, std::uint64_t{head.tokens.size()});
  Put(to, kFileBytesAt, areas.file_bytes);
  Put(to, kRepresentationsSumAt, head.representations_checksum);
  std::memcpy(to.data() + kTokensAt, head.tokens.data(), head.tokens.size() * sizeof(std::int32_t));
  std::memcpy(to.data() + areas.table, head.slice_checksums.data(),
              head.slice_checksums.size() * sizeof(std::uint64_t));
  Put(to, areas.head_sum, Checksum(to.first(areas.head_sum)));
}

Result<BlockLayout> DecodeLayout(std::span<const std::byte> from) {
  if (from.size() < kTokensAt) return Differs("header bytes", from.size(), kTokensAt);
  if (std::memcmp(from.data(), kBlockMagic, sizeof(kBlockMagic)) != 0) {
    return DataError("does not start with the magic of a block file");
  }
  const auto version = Get<std::uint32_t>(from, kVersionAt);
  if (version != kBlockVersion) return Differs("format version", version, kBlockVersion);
  const BlockLayout layout{
      .block_tokens = Get<std::uint32_t>(from, kBlockTokensAt),
      .num_slices = Get<std::uint32_t>(from, kNumSlicesAt),
      .slice_bytes = Get<std::uint64_t>(from, kSliceBytesAt),
      .representation_bytes = Get<std::uint32_t>(from, kRepresentationBytesAt)};
  if (Status valid = CheckLayout(layout); !valid) return DataError(valid.error().message);
  return layout;
}

Result<BlockHead> DecodeHead(std::span<const std::byte> from, const BlockLayout& layout,
                             const BlockId& id) {
  const Result<BlockLayout> found = DecodeLayout(from);
  if (!found) return found.error();
  if (Status same = CheckSameLayout(*found, layout); !same) return same.error();
  const BlockAreas areas(layout);
  if (from.size() < areas.head_bytes()) {
    return Differs("header bytes", from.size(), areas.head_bytes());
  }
  if (Get<std::uint64_t>(from, areas.head_sum) != Checksum(from.first(areas.head_sum))) {
    return DataError("checksum of the header does not match");
  }
  if (Get<std::uint64_t>(from, kNumTokensAt) != layout.block_tokens) {
    return Differs("num_tokens", Get<std::uint64_t>(from, kNumTokensAt), layout.block_tokens);
  }
  if (Get<std::uint64_t>(from, kFileBytesAt) != areas.file_bytes) {
    return Differs("file_bytes", Get<std::uint64_t>(from, kFileBytesAt), areas.file_bytes);
  }
  BlockHead head{.layout = layout,
                 .id = {Get<decltype(BlockId::bytes)>(from, kIdAt)},
                 .parent = {Get<decltype(BlockId::bytes)>(from, kParentAt)},
                 .representations_checksum = Get<std::uint64_t>(from, kRepresentationsSumAt),
                 .tokens = std::vector<std::int32_t>(layout.block_tokens),
                 .slice_checksums = std::vector<std::uint64_t>(layout.num_slices)};
  if (head.id != id) return DataError("holds block " + head.id.Hex() + ", not what its name says");
  std::memcpy(head.tokens.data(), from.data() + kTokensAt,
              head.tokens.size() * sizeof(std::int32_t));
  std::memcpy(head.slice_checksums.data(), from.data() + areas.table,
              head.slice_checksums.size() * sizeof(std::uint64_t));
  return head;
}

}  // namespace esa
