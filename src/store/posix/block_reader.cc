#include "store/posix/block_reader.h"

#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <utility>

namespace esa {
namespace {

// A quarter of the descriptors that the process may have, of which 1024 are usual: a context has
// more blocks than that, and each step reads some of most.
std::size_t MaxOpenFiles() {
  constexpr rlim_t kLeast = 256;
  constexpr rlim_t kMost = 16384;
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kLeast;
  return std::clamp(limit.rlim_cur / 4, kLeast, kMost);
}

// Tokens and checksums of 20,000 blocks of a model of 256 slices, 2.5 million tokens.
constexpr std::size_t kHeadCacheBytes = 64u << 20;

std::size_t MaxHeads(const BlockAreas& areas) {
  return std::max<std::size_t>(16, kHeadCacheBytes / areas.head_bytes());
}

Error InFile(const std::string& path, const Error& error) {
  return {error.code, path + ": " + error.message};
}

}  // namespace

BlockReader::BlockReader(FileSystem& files, const BlockLayout& layout, const BlockCipher* cipher,
                         bool verify_checksums)
    : files_(files),
      layout_(layout),
      cipher_(cipher),
      verify_(verify_checksums),
      areas_(layout, cipher != nullptr),
      open_(MaxOpenFiles()),
      heads_(MaxHeads(areas_)) {}

std::uint64_t BlockReader::PartBytes(std::uint32_t part) const {
  if (part == kTokens) return layout_.block_tokens * sizeof(std::int32_t);
  return part == kRepresentations ? areas_.representations_bytes : layout_.slice_bytes;
}

Result<std::shared_ptr<const OpenFile>> BlockReader::Open(const Folder& folder, const BlockId& id) {
  std::uint64_t ticket = 0;
  if (auto block = open_.Get(id, &ticket)) return block;
  std::string path = folder.PathOf(id);
  auto file = files_.Open(path, {.direct = folder.direct()});
  if (!file) return file.error();
  auto block = std::make_shared<const OpenFile>(*std::move(file), std::move(path));
  open_.Put(id, block, ticket);
  return block;
}

Result<BlockHead> BlockReader::ReadHead(const Folder& folder, const BlockId& id) {
  const auto open = Open(folder, id);
  if (!open) return open.error();
  const auto& [file, path] = **open;
  const Result<std::uint64_t> size = file->Size();
  if (!size) return size.error();
  AlignedBytes bytes(areas_.head_bytes());
  // A file cut short is read as far as it goes: a foreign layout may have a shorter head.
  const std::size_t present = std::min<std::uint64_t>(*size, bytes.span().size());
  if (Status read = ReadFully(*file, path, 0, bytes.span().first(present)); !read) {
    return read.error();
  }
  Result<BlockHead> head = DecodeHead(bytes.span().first(present), layout_, id, cipher_);
  if (!head) return InFile(path, head.error());
  if (*size != areas_.file_bytes) {
    return DataError(path + ": is " + std::to_string(*size) + " bytes long, expected " +
                     std::to_string(areas_.file_bytes));
  }
  return head;
}

Result<std::shared_ptr<const BlockHead>> BlockReader::Head(const Folder& folder,
                                                           const BlockId& id) {
  std::uint64_t ticket = 0;
  if (auto head = heads_.Get(id, &ticket)) return head;
  Result<BlockHead> read = ReadHead(folder, id);
  if (!read) return read.error();
  auto head = std::make_shared<const BlockHead>(*std::move(read));
  heads_.Put(id, head, ticket);
  return head;
}

std::shared_ptr<const BlockHead> BlockReader::HeadAtHand(const BlockId& id) {
  std::uint64_t ignored = 0;
  return heads_.Get(id, &ignored);
}

Status BlockReader::Read(const Folder& folder, const BlockId& id, std::uint32_t part,
                         std::byte* destination) {
  PartRun run{.id = id, .first = part, .destinations = {destination}};
  IoRequest request;
  if (Status prepared = Prepare(folder, &run, &request); !prepared) return prepared;
  RunSynchronously(&request);
  return request.status.ok() ? Verify(run, 0) : request.status;
}

Status BlockReader::Prepare(const Folder& folder, PartRun* run, IoRequest* request) {
  auto head = Head(folder, run->id);
  if (!head) return head.error();
  run->head = *std::move(head);
  if (run->first == kTokens) {
    std::ranges::copy(std::as_bytes(std::span(run->head->tokens)), run->destinations.front());
    return {};
  }
  if (PartBytes(run->first) == 0) return {};
  auto open = Open(folder, run->id);
  if (!open) return open.error();
  run->open = *std::move(open);
  FillRequest(run, request);
  return {};
}

bool BlockReader::PrepareCached(PartRun* run, IoRequest* request) {
  if (run->first >= layout_.num_slices) return false;
  std::uint64_t ignored = 0;
  run->head = HeadAtHand(run->id);
  if (run->head != nullptr) run->open = open_.Get(run->id, &ignored);
  if (run->open == nullptr) return false;
  FillRequest(run, request);
  return true;
}

void BlockReader::FillRequest(PartRun* run, IoRequest* request) const {
  request->file = run->open->file;
  request->path = run->open->path;
  if (run->first == kRepresentations) {
    request->offset = areas_.representations;
    run->copy.emplace(areas_.representations_bytes);
    request->pieces.push_back({run->copy->data(), run->copy->span().size()});
    return;
  }
  request->offset = areas_.slices + run->first * layout_.slice_bytes;
  for (std::byte* destination : run->destinations) {
    request->pieces.push_back({destination, layout_.slice_bytes});
  }
}

Status BlockReader::Verify(const PartRun& run, std::size_t index) const {
  if (run.first == kTokens || PartBytes(run.first) == 0) return {};
  std::byte* const destination = run.destinations[index];
  if (run.first == kRepresentations) {
    std::copy_n(run.copy->data(), areas_.representations_bytes, destination);
  }
  const std::uint32_t part = run.first == kRepresentations
                                 ? kRepresentations
                                 : run.first + static_cast<std::uint32_t>(index);
  const std::span<std::byte> bytes{destination, PartBytes(run.first)};
  Status status = verify_ ? VerifyPart(*run.head, part, bytes) : Status();
  if (status.ok() && run.head->encrypted) status = OpenPart(*run.head, part, bytes, bytes);
  return status.ok() ? status : InFile(run.open->path, status.error());
}

Status BlockReader::Prefetch(const Folder& folder, const BlockId& id) {
  if (const auto head = Head(folder, id); !head) return head.error();
  if (folder.direct()) return {};
  const auto open = Open(folder, id);
  if (!open) return open.error();
  (*open)->file->WillNeed(0, areas_.file_bytes);
  return {};
}

void BlockReader::Drop(const BlockId& id) {
  heads_.Erase(id);
  open_.Erase(id);
}

}  // namespace esa
