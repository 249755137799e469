#include "store/posix/block_verifier.h"

#include <algorithm>
#include <cstring>

#include "base/status_macros.h"
#include "store/checksum.h"

namespace esa {
namespace {

// Few calls for blocks of small slices; more adds nothing on the disks we know.
constexpr std::uint64_t kReadBytes = 4u << 20;

Status CheckSize(std::uint64_t bytes, std::uint64_t expected) {
  if (bytes == expected) return {};
  return DataError("the file has " + std::to_string(bytes) + " bytes, expected " +
                   std::to_string(expected));
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
  window_ = {};
  read_bytes_ = 0;
  const auto file = files_.Open(path, {.mode = OpenMode::kRead, .direct = direct});
  const Status checked = file ? CheckFile(**file, path, id) : Status(file.error());
  BlockVerdict verdict{.state = StateOf(checked), .read_bytes = read_bytes_};
  if (!checked && verdict.state != BlockState::kGone) verdict.what = checked.error().message;
  return verdict;
}

Status BlockVerifier::CheckFile(File& file, const std::string& path, const BlockId& id) {
  ESA_ASSIGN_OR_RETURN(window_.file_bytes, file.Size());
  ESA_ASSIGN_OR_RETURN(const Bytes field_bytes, Read(file, path, 0, kFieldsBytes));
  ESA_ASSIGN_OR_RETURN(const BlockFields fields, DecodeFields(field_bytes));
  const BlockAreas areas(fields.layout, fields.encrypted);
  ESA_RETURN_IF_ERROR(CheckSize(window_.file_bytes, areas.file_bytes));
  ESA_ASSIGN_OR_RETURN(const Bytes head_bytes, Read(file, path, 0, areas.head_bytes()));
  ESA_ASSIGN_OR_RETURN(const BlockHead head, VerifyHead(head_bytes, id));
  ESA_ASSIGN_OR_RETURN(const Bytes representations,
                       Read(file, path, areas.representations, areas.representations_bytes));
  ESA_RETURN_IF_ERROR(VerifyPart(head, kRepresentations, representations));
  return CheckSlices(file, path, head);
}

Status BlockVerifier::CheckSlices(File& file, const std::string& path, const BlockHead& head) {
  const BlockAreas areas(head.layout, head.encrypted);
  const std::uint64_t bytes = head.layout.slice_bytes;
  std::uint32_t wrong = 0;
  std::uint32_t first_wrong = 0;
  for (std::uint32_t i = 0; i < head.layout.num_slices; ++i) {
    ESA_ASSIGN_OR_RETURN(const Bytes slice, Read(file, path, areas.slices + i * bytes, bytes));
    if (VerifyPart(head, i, slice)) continue;
    if (wrong++ == 0) first_wrong = i;
  }
  if (wrong > 0) return DataError(SlicesDiffer(wrong, first_wrong, head.layout.num_slices));
  return {};
}

// All areas are asked for from the first on, so that the file is read once, in large pieces.
Result<BlockVerifier::Bytes> BlockVerifier::Read(File& file, const std::string& path,
                                                 std::uint64_t offset, std::uint64_t bytes) {
  const bool there = offset >= window_.offset && offset + bytes <= window_.offset + window_.bytes;
  if (!there) {
    const std::uint64_t left = window_.file_bytes - std::min(offset, window_.file_bytes);
    const std::uint64_t wanted = std::max(bytes, std::min(kReadBytes, left));
    if (buffer_ == nullptr || buffer_->span().size() < wanted) {
      buffer_ = std::make_unique<AlignedBytes>(std::max(wanted, kReadBytes));
    }
    window_.bytes = 0;  // of no use should the read fail
    ESA_RETURN_IF_ERROR(ReadFully(file, path, offset, buffer_->span().first(wanted)));
    window_.offset = offset;
    window_.bytes = wanted;
    read_bytes_ += wanted;
  }
  return Bytes(buffer_->span()).subspan(offset - window_.offset, bytes);
}

}  // namespace esa
