#include "store/posix/block_verifier.h"

#include <algorithm>
#include <cstring>

#include "base/status_macros.h"
#include "store/checksum.h"

namespace esa {
namespace {

// Few calls for blocks of small slices; more adds nothing on the disks we know.
constexpr std::uint64_t kReadBytes = 4u << 20;

// A layout needs room in memory before the head's checksum vouches for it, and a file whose size
// differs from what its head says is no block.
Status CheckSize(File& file, const BlockAreas& areas) {
  ESA_ASSIGN_OR_RETURN(const std::uint64_t bytes, file.Size());
  if (bytes == areas.file_bytes) return {};
  return DataError("the file has " + std::to_string(bytes) + " bytes, expected " +
                   std::to_string(areas.file_bytes));
}

BlockState StateOf(const Status& status) {
  if (status.ok()) return BlockState::kIntact;
  switch (status.error().code) {
    case ErrorCode::kDataError:
      return BlockState::kCorrupt;
    case ErrorCode::kUnsupported:
      return BlockState::kForeign;
    case ErrorCode::kNotFound:
      return BlockState::kGone;
    default:
      return BlockState::kUnreadable;
  }
}

Status CheckVersion(std::span<const std::byte> fields) {
  std::uint32_t version = 0;
  std::memcpy(&version, fields.data() + kVersionAt, sizeof(version));
  const bool block = std::memcmp(fields.data(), kBlockMagic, sizeof(kBlockMagic)) == 0;
  if (!block || version == kBlockVersion) return {};
  return Unsupported("format version " + std::to_string(version) + ", this program knows " +
                     std::to_string(kBlockVersion));
}

std::string SlicesDiffer(std::uint32_t wrong, std::uint32_t first, std::uint32_t of) {
  if (wrong == 1) return "checksum of slice " + std::to_string(first) + " does not match";
  return "checksums of " + std::to_string(wrong) + " of " + std::to_string(of) +
         " slices do not match, the first is " + std::to_string(first);
}

}  // namespace

BlockVerdict BlockVerifier::Verify(const std::string& path, const BlockId& id) {
  bool direct = true;
  BlockVerdict verdict = VerifyOnce(path, id, direct);
  if (verdict.state == BlockState::kUnreadable) {
    // Some filesystems refuse O_DIRECT at open, others only its reads.
    direct = false;
    verdict = VerifyOnce(path, id, direct);
  }
  // Another process may have replaced the file while it was read.
  return verdict.state == BlockState::kCorrupt ? VerifyOnce(path, id, direct) : verdict;
}

BlockVerdict BlockVerifier::VerifyOnce(const std::string& path, const BlockId& id, bool direct) {
  BlockVerdict verdict;
  const auto file = files_.Open(path, {.mode = OpenMode::kRead, .direct = direct});
  const Status checked =
      file ? CheckFile(**file, path, id, &verdict.read_bytes) : Status(file.error());
  verdict.state = StateOf(checked);
  if (!checked && verdict.state != BlockState::kGone) verdict.what = checked.error().message;
  return verdict;
}

Status BlockVerifier::CheckFile(File& file, const std::string& path, const BlockId& id,
                                std::uint64_t* read_bytes) {
  ESA_RETURN_IF_ERROR(Read(file, path, 0, kTokensAt));
  const std::span<std::byte> fields = Room(kTokensAt);
  ESA_RETURN_IF_ERROR(CheckVersion(fields));
  ESA_ASSIGN_OR_RETURN(const BlockLayout layout, DecodeLayout(fields));
  const BlockAreas areas(layout);
  ESA_RETURN_IF_ERROR(CheckSize(file, areas));
  ESA_RETURN_IF_ERROR(Read(file, path, 0, areas.head_bytes()));
  *read_bytes += areas.head_bytes();
  ESA_ASSIGN_OR_RETURN(const BlockHead head, DecodeHead(Room(areas.head_bytes()), layout, id));
  ESA_RETURN_IF_ERROR(Read(file, path, areas.representations, areas.representations_bytes));
  *read_bytes += areas.representations_bytes;
  if (Checksum(Room(areas.representations_bytes)) != head.representations_checksum) {
    return DataError("checksum of the representations does not match");
  }
  return CheckSlices(file, path, head, read_bytes);
}

Status BlockVerifier::CheckSlices(File& file, const std::string& path, const BlockHead& head,
                                  std::uint64_t* read_bytes) {
  const BlockAreas areas(head.layout);
  const std::uint64_t bytes = head.layout.slice_bytes;
  const std::uint32_t slices = head.layout.num_slices;
  const auto at_once = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, kReadBytes / bytes));
  std::uint32_t wrong = 0;
  std::uint32_t first_wrong = 0;
  for (std::uint32_t first = 0; first < slices; first += at_once) {
    const std::uint32_t count = std::min(at_once, slices - first);
    ESA_RETURN_IF_ERROR(Read(file, path, areas.slices + first * bytes, count * bytes));
    *read_bytes += count * bytes;
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto slice = Room(count * bytes).subspan(i * bytes, bytes);
      if (Checksum(slice) == head.slice_checksums[first + i]) continue;
      if (wrong++ == 0) first_wrong = first + i;
    }
  }
  if (wrong > 0) return DataError(SlicesDiffer(wrong, first_wrong, slices));
  return {};
}

Status BlockVerifier::Read(File& file, const std::string& path, std::uint64_t offset,
                           std::uint64_t bytes) {
  return ReadFully(file, path, offset, Room(bytes));
}

std::span<std::byte> BlockVerifier::Room(std::uint64_t bytes) {
  if (buffer_ == nullptr || buffer_->span().size() < bytes) {
    buffer_ = std::make_unique<AlignedBytes>(std::max(bytes, kReadBytes));
  }
  return buffer_->span().first(bytes);
}

}  // namespace esa
