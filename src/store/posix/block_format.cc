#include "store/posix/block_format.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "store/checksum.h"
#include "store/layout_check.h"

namespace esa {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");
static_assert(kRepresentations == 0xffffffffu && kTokens == 0xfffffffeu,
              "numbers of parts are in nonces and under tags");

// The last version without a checksum of its fixed fields.
constexpr std::uint32_t kVersionWithoutFieldsSum = 1;

using Identity = std::array<std::byte, kIdentityBytes>;

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

template <class T>
void PutAll(std::span<std::byte> to, std::size_t at, const std::vector<T>& values) {
  std::ranges::copy(std::as_bytes(std::span(values)), to.begin() + static_cast<std::ptrdiff_t>(at));
}

template <class T>
std::vector<T> GetAll(std::span<const std::byte> from, std::size_t at, std::size_t count) {
  std::vector<T> values(count);
  std::ranges::copy(from.subspan(at, count * sizeof(T)),
                    std::as_writable_bytes(std::span(values)).begin());
  return values;
}

std::string Difference(const char* field, std::uint64_t found, std::uint64_t expected) {
  return std::string(field) + " is " + std::to_string(found) + ", expected " +
         std::to_string(expected);
}

std::string NameOf(std::uint32_t part) {
  return part == kRepresentations ? "the representations" : "slice " + std::to_string(part);
}

Status CheckSameLayout(const BlockLayout& found, const BlockLayout& expected) {
  const auto check = [](const char* field, std::uint64_t is, std::uint64_t wanted) -> Status {
    if (is == wanted) return {};
    return Unsupported(Difference(field, is, wanted));
  };
  ESA_RETURN_IF_ERROR(check("block_tokens", found.block_tokens, expected.block_tokens));
  ESA_RETURN_IF_ERROR(check("num_slices", found.num_slices, expected.num_slices));
  ESA_RETURN_IF_ERROR(check("slice_bytes", found.slice_bytes, expected.slice_bytes));
  return check("representation_bytes", found.representation_bytes, expected.representation_bytes);
}

Identity EncodeIdentity(const BlockFields& fields) {
  Identity identity{};
  std::ranges::copy(std::as_bytes(std::span(kBlockMagic)), identity.begin());
  Put(identity, kVersionAt, kBlockVersion);
  Put(identity, kBlockTokensAt, fields.layout.block_tokens);
  Put(identity, kNumSlicesAt, fields.layout.num_slices);
  Put(identity, kRepresentationBytesAt, fields.layout.representation_bytes);
  Put(identity, kSliceBytesAt, fields.layout.slice_bytes);
  Put(identity, kIdAt, fields.id.bytes);
  Put(identity, kParentAt, fields.parent.bytes);
  Put(identity, kFileBytesAt, BlockAreas(fields.layout, fields.encrypted).file_bytes);
  Put(identity, kFlagsAt, fields.encrypted ? kEncryptedFlag : 0);
  Put(identity, kSaltAt, fields.salt);
  return identity;
}

// Damage to the fixed fields shows here, before any of them is believed.
Status CheckFields(std::span<const std::byte> from) {
  if (from.size() < kFieldsBytes) {
    return DataError(Difference("header bytes", from.size(), kFieldsBytes));
  }
  if (std::memcmp(from.data(), kBlockMagic, sizeof(kBlockMagic)) != 0) {
    return DataError("does not start with the magic of a block file");
  }
  const auto version = Get<std::uint32_t>(from, kVersionAt);
  if (version != kVersionWithoutFieldsSum &&
      Get<std::uint64_t>(from, kFieldsSumAt) != Checksum(from.first(kFieldsSumAt))) {
    return DataError("checksum of the fixed fields does not match");
  }
  if (version == kBlockVersion) return {};
  return Unsupported(Difference("format version", version, kBlockVersion));
}

// What follows the fixed fields of a head, but for the tokens.
Result<BlockHead> DecodeSeals(std::span<const std::byte> from, const BlockFields& fields) {
  const BlockAreas areas(fields.layout, fields.encrypted);
  if (from.size() < areas.head_bytes()) {
    return DataError(Difference("header bytes", from.size(), areas.head_bytes()));
  }
  if (Get<std::uint64_t>(from, areas.head_sum) != Checksum(from.first(areas.head_sum))) {
    return DataError("checksum of the header does not match");
  }
  BlockHead head;
  static_cast<BlockFields&>(head) = fields;
  head.representations = {.checksum = Get<std::uint64_t>(from, kRepresentationsSumAt),
                          .tag = Get<PartTag>(from, kRepresentationsTagAt)};
  const std::size_t slices = fields.layout.num_slices;
  head.slice_checksums = GetAll<std::uint64_t>(from, areas.sums, slices);
  head.slice_tags = GetAll<PartTag>(from, areas.tags, fields.encrypted ? slices : 0);
  return head;
}

Result<BlockFields> DecodeFieldsOf(std::span<const std::byte> from, const BlockId& id) {
  ESA_ASSIGN_OR_RETURN(BlockFields fields, DecodeFields(from));
  if (fields.id == id) return fields;
  return DataError("holds block " + fields.id.Hex() + ", not what its name says");
}

Status CheckSameEncryption(bool found, bool expected) {
  if (found == expected) return {};
  return Unsupported(found ? "is encrypted, and no key is configured"
                           : "is not encrypted, and a key is configured");
}

// The first use of the key: here, and only here, a wrong one shows.
Status OpenTokens(std::span<const std::byte> from, BlockHead* head) {
  head->tokens = GetAll<std::int32_t>(from, kTokensAt, head->layout.block_tokens);
  if (!head->encrypted) return {};
  const std::span<std::byte> tokens = std::as_writable_bytes(std::span(head->tokens));
  const Status opened = OpenBytes(*head->file_key, kTokens, EncodeIdentity(*head), tokens,
                                  Get<PartTag>(from, kTokensTagAt), tokens);
  if (opened.ok() || opened.error().code != ErrorCode::kDataError) return opened;
  return Unsupported("is encrypted under another key");
}

}  // namespace

BlockAreas::BlockAreas(const BlockLayout& layout, bool encrypted)
    : sums(RoundUp(kTokensAt + sizeof(std::int32_t) * std::uint64_t{layout.block_tokens}, 8)),
      tags(sums + sizeof(std::uint64_t) * std::uint64_t{layout.num_slices}),
      head_sum(tags + (encrypted ? sizeof(PartTag) * std::uint64_t{layout.num_slices} : 0)),
      representations(RoundUp(head_sum + sizeof(std::uint64_t), kBlockAlignment)),
      representations_bytes(std::uint64_t{layout.num_slices} * layout.representation_bytes),
      slices(RoundUp(representations + representations_bytes, kBlockAlignment)),
      file_bytes(slices + layout.num_slices * layout.slice_bytes) {}

PartSeal BlockHead::SealOf(std::uint32_t part) const {
  if (part == kRepresentations) return representations;
  ESA_CHECK(part < slice_checksums.size());
  return {.checksum = slice_checksums[part], .tag = encrypted ? slice_tags[part] : PartTag{}};
}

void BlockHead::SetSeal(std::uint32_t part, const PartSeal& seal) {
  if (part == kRepresentations) {
    representations = seal;
    return;
  }
  ESA_CHECK(part < slice_checksums.size());
  slice_checksums[part] = seal.checksum;
  if (encrypted) slice_tags[part] = seal.tag;
}

Result<BlockHead> NewHead(const BlockLayout& layout, const BlockKey& key, const BlockId& parent,
                          const BlockCipher* cipher) {
  BlockHead head;
  head.layout = layout;
  head.id = key.id;
  head.parent = parent;
  head.tokens.assign(key.tokens.begin(), key.tokens.end());
  head.slice_checksums.resize(layout.num_slices);
  if (cipher == nullptr) return head;
  head.encrypted = true;
  head.slice_tags.resize(layout.num_slices);
  ESA_ASSIGN_OR_RETURN(head.salt, RandomSalt());
  head.file_key = cipher->FileKey(head.salt, head.id);
  return head;
}

Result<PartSeal> SealPart(const BlockHead& head, std::uint32_t part,
                          std::span<const std::byte> plain, std::span<std::byte> stored) {
  PartSeal seal;
  if (head.encrypted) {
    ESA_RETURN_IF_ERROR(
        SealBytes(*head.file_key, part, EncodeIdentity(head), plain, stored, &seal.tag));
    plain = stored;
  }
  seal.checksum = Checksum(plain);
  return seal;
}

Status EncodeHead(const BlockHead& head, std::span<std::byte> to) {
  const BlockAreas areas(head.layout, head.encrypted);
  ESA_CHECK(to.size() >= areas.head_bytes());
  ESA_CHECK(head.tokens.size() == head.layout.block_tokens);
  ESA_CHECK(head.slice_checksums.size() == head.layout.num_slices);
  ESA_CHECK(head.slice_tags.size() == (head.encrypted ? head.layout.num_slices : 0));
  std::memset(to.data(), 0, areas.head_bytes());
  const Identity identity = EncodeIdentity(head);
  std::ranges::copy(identity, to.begin());
  PutAll(to, kTokensAt, head.tokens);
  if (head.encrypted) {
    const auto tokens = to.subspan(kTokensAt, head.tokens.size() * sizeof(std::int32_t));
    PartTag tag;
    ESA_RETURN_IF_ERROR(SealBytes(*head.file_key, kTokens, identity, tokens, tokens, &tag));
    Put(to, kTokensTagAt, tag);
  }
  Put(to, kRepresentationsTagAt, head.representations.tag);
  Put(to, kRepresentationsSumAt, head.representations.checksum);
  Put(to, kFieldsSumAt, Checksum(to.first(kFieldsSumAt)));
  PutAll(to, areas.sums, head.slice_checksums);
  PutAll(to, areas.tags, head.slice_tags);
  Put(to, areas.head_sum, Checksum(to.first(areas.head_sum)));
  return {};
}

Result<BlockFields> DecodeFields(std::span<const std::byte> from) {
  ESA_RETURN_IF_ERROR(CheckFields(from));
  const auto flags = Get<std::uint64_t>(from, kFlagsAt);
  if ((flags & ~kEncryptedFlag) != 0) {
    return Unsupported("has flags of a later version: " + std::to_string(flags));
  }
  const BlockFields fields{
      .layout = {.block_tokens = Get<std::uint32_t>(from, kBlockTokensAt),
                 .num_slices = Get<std::uint32_t>(from, kNumSlicesAt),
                 .slice_bytes = Get<std::uint64_t>(from, kSliceBytesAt),
                 .representation_bytes = Get<std::uint32_t>(from, kRepresentationBytesAt)},
      .id = {Get<decltype(BlockId::bytes)>(from, kIdAt)},
      .parent = {Get<decltype(BlockId::bytes)>(from, kParentAt)},
      .encrypted = flags == kEncryptedFlag,
      .salt = Get<BlockSalt>(from, kSaltAt)};
  if (Status valid = CheckLayout(fields.layout); !valid) return DataError(valid.error().message);
  const auto file_bytes = Get<std::uint64_t>(from, kFileBytesAt);
  const BlockAreas areas(fields.layout, fields.encrypted);
  if (file_bytes == areas.file_bytes) return fields;
  return DataError(Difference("file_bytes", file_bytes, areas.file_bytes));
}

Result<BlockHead> DecodeHead(std::span<const std::byte> from, const BlockLayout& layout,
                             const BlockId& id, const BlockCipher* cipher) {
  ESA_ASSIGN_OR_RETURN(const BlockFields fields, DecodeFieldsOf(from, id));
  ESA_RETURN_IF_ERROR(CheckSameLayout(fields.layout, layout));
  ESA_RETURN_IF_ERROR(CheckSameEncryption(fields.encrypted, cipher != nullptr));
  ESA_ASSIGN_OR_RETURN(BlockHead head, DecodeSeals(from, fields));
  if (cipher != nullptr) head.file_key = cipher->FileKey(head.salt, head.id);
  ESA_RETURN_IF_ERROR(OpenTokens(from, &head));
  return head;
}

Result<BlockHead> VerifyHead(std::span<const std::byte> from, const BlockId& id) {
  ESA_ASSIGN_OR_RETURN(const BlockFields fields, DecodeFieldsOf(from, id));
  return DecodeSeals(from, fields);
}

Status VerifyPart(const BlockHead& head, std::uint32_t part, std::span<const std::byte> stored) {
  if (Checksum(stored) == head.SealOf(part).checksum) return {};
  return DataError("checksum of " + NameOf(part) + " does not match");
}

Status OpenPart(const BlockHead& head, std::uint32_t part, std::span<const std::byte> stored,
                std::span<std::byte> plain) {
  ESA_CHECK(stored.size() == plain.size());
  if (!head.encrypted) {
    if (stored.data() != plain.data()) std::ranges::copy(stored, plain.begin());
    return {};
  }
  ESA_CHECK(head.file_key.has_value());
  const Status opened =
      OpenBytes(*head.file_key, part, EncodeIdentity(head), stored, head.SealOf(part).tag, plain);
  if (opened.ok() || opened.error().code != ErrorCode::kDataError) return opened;
  return DataError("tag of " + NameOf(part) + " does not match");
}

}  // namespace esa
