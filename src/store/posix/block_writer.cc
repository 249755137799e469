#include "store/posix/block_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "store/posix/file_names.h"

namespace esa {
namespace {

constexpr std::size_t kMaxOpenFiles = 64;

}  // namespace

BlockWriter::BlockWriter(FileSystem& files, const BlockLayout& layout, const BlockCipher* cipher)
    : files_(files),
      layout_(layout),
      cipher_(cipher),
      areas_(layout, cipher != nullptr),
      open_files_(kMaxOpenFiles) {}

BlockWriter::~BlockWriter() {
  std::vector<BlockId> ids;
  for (const auto& entry : blocks_) ids.push_back(entry.first);
  for (const BlockId& id : ids) Abandon(id);
}

Result<bool> BlockWriter::Begin(Folder& folder, const BlockKey& key, const BlockId& parent,
                                std::int64_t stamp_us) {
  auto head = NewHead(layout_, key, parent, cipher_);
  if (!head) return head.error();
  auto block = std::make_shared<OpenBlock>();
  block->folder = &folder;
  block->stamp_us = stamp_us;
  block->head = *std::move(head);
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

// What the head says of its file does not change while the block is open.
Status BlockWriter::Seal(SliceRun* run) const {
  const BlockHead& head = run->block->head;
  if (head.encrypted) run->sealed.emplace(run->data.size() * layout_.slice_bytes);
  for (std::size_t i = 0; i < run->data.size(); ++i) {
    const std::span<const std::byte> plain{run->data[i], layout_.slice_bytes};
    std::span<std::byte> stored;
    if (run->sealed) stored = run->sealed->span().subspan(i * plain.size(), plain.size());
    const auto seal = SealPart(head, run->first + static_cast<std::uint32_t>(i), plain, stored);
    if (!seal) return seal.error();
    run->seals.push_back(*seal);
    if (run->sealed) run->data[i] = stored.data();
  }
  return {};
}

Status BlockWriter::Prepare(SliceRun* run, IoRequest* request) {
  if (Status sealed = Seal(run); !sealed) return sealed;
  OpenBlock& block = *run->block;
  std::lock_guard lock(block.mutex);
  if (block.failure) return *block.failure;
  // In one request the file grows as it is written; in several its room is taken before.
  const bool whole = run->data.size() == layout_.num_slices;
  auto file = FileOf(block, !whole);
  if (!file) {
    FailLocked(block, file.error());
    return file.error();
  }
  request->file = *std::move(file);
  request->path = block.temporary;
  request->write = true;
  request->offset = areas_.slices + run->first * layout_.slice_bytes;
  for (std::size_t i = 0; i < run->seals.size(); ++i) {
    block.head.SetSeal(run->first + static_cast<std::uint32_t>(i), run->seals[i]);
  }
  if (whole) {
    auto front = Front(block);
    if (!front) {
      FailLocked(block, front.error());
      return front.error();
    }
    run->front = *std::move(front);
    request->offset = 0;
    request->pieces.push_back({run->front->data(), areas_.slices});
  }
  for (const std::byte* data : run->data) {
    request->pieces.push_back({const_cast<std::byte*>(data), layout_.slice_bytes});
  }
  ++block.num_writing;
  return {};
}

Status BlockWriter::PrepareFront(SliceRun* run, IoRequest* request) {
  OpenBlock& block = *run->block;
  run->data.clear();  // they are counted
  std::lock_guard lock(block.mutex);
  if (block.failure) return *block.failure;
  auto file = FileOf(block);
  auto front = file.ok() ? Front(block) : Result<AlignedBytes>(file.error());
  if (!front) {
    FailLocked(block, front.error());
    return front.error();
  }
  run->front = *std::move(front);
  request->file = *std::move(file);
  request->path = block.temporary;
  request->write = true;
  request->pieces.push_back({run->front->data(), areas_.slices});
  ++block.num_writing;
  return {};
}

Status BlockWriter::Finish(SliceRun* run, const IoRequest& request, Outcome* outcome) {
  *outcome = Outcome::kOpen;
  OpenBlock& block = *run->block;
  std::lock_guard lock(block.mutex);
  --block.num_writing;
  Status status = request.status;
  if (status.ok() && block.failure) status = *block.failure;
  if (status.ok()) {
    block.num_written += static_cast<std::uint32_t>(run->data.size());
    if (block.num_written == layout_.num_slices) {
      if (run->front) status = Commit(block);
      *outcome = run->front ? Outcome::kCommitted : Outcome::kWantsFront;
    }
  }
  if (!status) FailLocked(block, status.error());
  if (block.failure) DiscardIfIdle(block);
  return status;
}

Result<std::shared_ptr<File>> BlockWriter::FileOf(OpenBlock& block, bool allocate) {
  if (block.temporary.empty()) {
    if (Status created = Create(block, allocate); !created) return created.error();
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

Status BlockWriter::Create(OpenBlock& block, bool allocate) {
  Folder& folder = *block.folder;
  if (Status room = folder.Reserve(areas_.file_bytes); !room) return room;
  const std::string path = folder.NewTemporaryPath(block.head.id);
  const OpenOptions options{
      .mode = OpenMode::kCreate, .direct = folder.direct(), .bytes = areas_.file_bytes};
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
  if (allocate) {
    if (Status room = (*file)->Allocate(areas_.file_bytes); !room) return room;
  }
  std::uint64_t ticket = 0;
  (void)open_files_.Get(path, &ticket);
  open_files_.Put(path, *std::move(file), ticket);
  return {};
}

Result<AlignedBytes> BlockWriter::Front(OpenBlock& block) const {
  AlignedBytes front(areas_.slices);
  const std::span<std::byte> stored =
      front.span().subspan(areas_.representations, block.representations.size());
  std::ranges::copy(block.representations, stored.begin());
  const auto seal = SealPart(block.head, kRepresentations, block.representations, stored);
  if (!seal) return seal.error();
  block.head.SetSeal(kRepresentations, *seal);
  if (Status encoded = EncodeHead(block.head, front.span()); !encoded) return encoded.error();
  return front;
}

Status BlockWriter::Commit(OpenBlock& block) {
  if (block.folder->durable()) {
    const auto file = FileOf(block);
    if (!file) return file.error();
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

void BlockWriter::MarkFailed(OpenBlock& block, Error error) {
  std::lock_guard lock(block.mutex);
  if (!block.failure) block.failure = std::move(error);
}

void BlockWriter::Discard(OpenBlock& block) {
  std::lock_guard lock(block.mutex);
  DiscardIfIdle(block);
}

void BlockWriter::Abandon(const BlockId& id) {
  std::shared_ptr<OpenBlock> block;
  {
    std::lock_guard lock(mutex_);
    auto node = blocks_.extract(id);
    if (node.empty()) return;
    block = std::move(node.mapped());
  }
  MarkFailed(*block, Cancelled("block " + id.Hex() + " was abandoned"));
  Discard(*block);
}

}  // namespace esa
