#include "store/posix/block_writer.h"

#include <cstring>
#include <utility>

#include "store/checksum.h"
#include "store/posix/aligned_bytes.h"
#include "store/posix/file_names.h"

namespace esa {
namespace {

constexpr std::size_t kMaxOpenFiles = 64;

}  // namespace

BlockWriter::BlockWriter(FileSystem& files, const BlockLayout& layout)
    : files_(files), layout_(layout), areas_(layout), open_files_(kMaxOpenFiles) {}

BlockWriter::~BlockWriter() {
  std::vector<BlockId> ids;
  for (const auto& entry : blocks_) ids.push_back(entry.first);
  for (const BlockId& id : ids) Abandon(id);
}

bool BlockWriter::Begin(Folder& folder, const BlockKey& key, const BlockId& parent,
                        std::int64_t stamp_us) {
  auto block = std::make_shared<OpenBlock>();
  block->folder = &folder;
  block->stamp_us = stamp_us;
  block->head.layout = layout_;
  block->head.id = key.id;
  block->head.parent = parent;
  block->head.tokens.assign(key.tokens.begin(), key.tokens.end());
  block->head.slice_checksums.resize(layout_.num_slices);
  block->representations.resize(areas_.representations_bytes);
  block->taken.resize(layout_.num_slices);
  std::lock_guard lock(mutex_);
  return blocks_.emplace(key.id, std::move(block)).second;
}

bool BlockWriter::IsOpen(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  return blocks_.contains(id);
}

std::optional<std::int64_t> BlockWriter::StampOf(const BlockId& id) const {
  std::lock_guard lock(mutex_);
  const auto found = blocks_.find(id);
  if (found == blocks_.end()) return std::nullopt;
  return found->second->stamp_us;
}

Result<std::shared_ptr<OpenBlock>> BlockWriter::Take(const SliceWrite& write) {
  std::shared_ptr<OpenBlock> block;
  {
    std::lock_guard lock(mutex_);
    const auto found = blocks_.find(write.id);
    if (found == blocks_.end()) return NotFound("block " + write.id.Hex() + " is not open");
    block = found->second;
  }
  std::lock_guard lock(block->mutex);
  if (block->failure) return *block->failure;
  if (write.slice >= layout_.num_slices || block->taken[write.slice] || write.data == nullptr ||
      (write.representation == nullptr && layout_.representation_bytes > 0)) {
    Error error =
        InvalidArgument("block " + write.id.Hex() + ": slice " + std::to_string(write.slice) +
                        " is out of range, written already, or without data");
    FailLocked(*block, error);
    return error;
  }
  block->taken[write.slice] = true;
  if (layout_.representation_bytes > 0) {
    std::memcpy(
        block->representations.data() + std::size_t{write.slice} * layout_.representation_bytes,
        write.representation, layout_.representation_bytes);
  }
  return block;
}

Status BlockWriter::Write(OpenBlock& block, std::uint32_t slice, const std::byte* data,
                          bool* committed) {
  const std::span<const std::byte> bytes{data, layout_.slice_bytes};
  std::shared_ptr<File> file;
  std::string path;
  {
    std::lock_guard lock(block.mutex);
    if (block.failure) return *block.failure;
    auto opened = FileOf(block);
    if (!opened) {
      FailLocked(block, opened.error());
      return opened.error();
    }
    file = *std::move(opened);
    path = block.temporary;
    ++block.num_writing;
  }
  Status status = WriteFully(*file, path, areas_.slices + slice * layout_.slice_bytes, bytes);
  const std::uint64_t checksum = Checksum(bytes);
  std::lock_guard lock(block.mutex);
  --block.num_writing;
  block.head.slice_checksums[slice] = checksum;
  if (status.ok() && !block.failure && ++block.num_written == layout_.num_slices) {
    status = Commit(block);
    *committed = status.ok();
  }
  if (!status) FailLocked(block, status.error());
  if (block.failure) DiscardIfIdle(block);
  return status;
}

Result<std::shared_ptr<File>> BlockWriter::FileOf(OpenBlock& block) {
  if (block.temporary.empty()) {
    if (Status created = Create(block); !created) return created.error();
  }
  std::uint64_t ticket = 0;
  if (auto file = open_files_.Get(block.temporary, &ticket)) return file;
  auto opened =
      files_.Open(block.temporary, {.mode = OpenMode::kWrite, .direct = block.folder->direct()});
  if (!opened) return opened.error();
  std::shared_ptr<File> file = *std::move(opened);
  open_files_.Put(block.temporary, file, ticket);
  return file;
}

Status BlockWriter::Create(OpenBlock& block) {
  Folder& folder = *block.folder;
  if (Status room = folder.Reserve(areas_.file_bytes); !room) return room;
  const std::string path = folder.NewTemporaryPath(block.head.id);
  const OpenOptions options{.mode = OpenMode::kCreate, .direct = folder.direct()};
  auto file = files_.Open(path, options);
  if (!file && file.error().code == ErrorCode::kNotFound) {
    const Status made = folder.MakeFanOut(block.head.id);
    file = made.ok() ? files_.Open(path, options) : made.error();
  }
  if (!file) {
    folder.Release(areas_.file_bytes);
    return file.error();
  }
  block.temporary = path;
  if (Status room = (*file)->Allocate(areas_.file_bytes); !room) return room;
  std::uint64_t ticket = 0;
  (void)open_files_.Get(path, &ticket);
  open_files_.Put(path, *std::move(file), ticket);
  return {};
}

Status BlockWriter::Commit(OpenBlock& block) {
  block.head.representations.checksum = Checksum(block.representations);
  AlignedBytes front(areas_.slices);
  if (Status s = EncodeHead(block.head, front.span()); !s) return s;
  if (!block.representations.empty()) {
    std::memcpy(front.data() + areas_.representations, block.representations.data(),
                block.representations.size());
  }
  const auto file = FileOf(block);
  if (!file) return file.error();
  if (Status s = WriteFully(**file, block.temporary, 0, front.span()); !s) return s;
  if (block.folder->durable()) {
    if (Status s = (*file)->Sync(); !s) return s;
  }
  open_files_.Erase(block.temporary);
  const BlockIndex::Entry entry{areas_.file_bytes, block.stamp_us};
  if (Status s = block.folder->Commit(block.temporary, block.head.id, entry); !s) return s;
  // Visible before it is no longer open: whoever finds it in neither state may begin it.
  block.temporary.clear();
  std::lock_guard lock(mutex_);
  const auto found = blocks_.find(block.head.id);
  if (found != blocks_.end() && found->second.get() == &block) blocks_.erase(found);
  return {};
}

void BlockWriter::FailLocked(OpenBlock& block, Error error) {
  if (!block.failure) block.failure = std::move(error);
  DiscardIfIdle(block);
}

void BlockWriter::DiscardIfIdle(OpenBlock& block) {
  if (block.num_writing > 0 || block.temporary.empty()) return;
  open_files_.Erase(block.temporary);
  // What cannot be removed now is removed as a leftover when a store next opens the folder.
  (void)files_.Remove(block.temporary);
  block.temporary.clear();
  block.folder->Release(areas_.file_bytes);
}

void BlockWriter::Fail(OpenBlock& block, Error error) {
  std::lock_guard lock(block.mutex);
  FailLocked(block, std::move(error));
}

void BlockWriter::Abandon(const BlockId& id) {
  std::shared_ptr<OpenBlock> block;
  {
    std::lock_guard lock(mutex_);
    auto node = blocks_.extract(id);
    if (node.empty()) return;
    block = std::move(node.mapped());
  }
  Fail(*block, Cancelled("block " + id.Hex() + " was abandoned"));
}

}  // namespace esa
