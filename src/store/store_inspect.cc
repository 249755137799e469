#include "store/store_inspect.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>

#include "base/status_macros.h"
#include "store/posix/block_format.h"
#include "store/posix/file_names.h"
#include "store/posix/file_system.h"
#include "store/posix/folder_listing.h"
#include "store/posix/packed_files.h"

namespace esa {
namespace {

Status ReadFields(FileSystem& files, BlockInfo* block) {
  const std::string path = BlockPath(block->folder, block->id);
  ESA_ASSIGN_OR_RETURN(const std::unique_ptr<File> file, files.Open(path, {}));
  std::array<std::byte, kFieldsBytes> bytes{};
  ESA_RETURN_IF_ERROR(ReadFully(*file, path, 0, bytes));
  ESA_ASSIGN_OR_RETURN(const BlockFields fields, DecodeFields(bytes));
  block->layout = fields.layout;
  block->parent = fields.parent;
  return {};
}

// Reads the headers of `blocks` and takes out those that have vanished.
void ReadHeaders(FileSystem& files, std::vector<BlockInfo>* blocks) {
  std::erase_if(*blocks, [&](BlockInfo& block) {
    const Status read = ReadFields(files, &block);
    if (read.ok()) return false;
    block.unreadable = read.error().message;
    return read.error().code == ErrorCode::kNotFound;
  });
}

bool MoreRecent(const BlockInfo& a, const BlockInfo& b) {
  return a.used_us != b.used_us ? a.used_us > b.used_us : a.id < b.id;
}

void AppendBlocks(const std::string& folder, const FolderListing& listing,
                  std::vector<BlockInfo>* blocks) {
  for (const FolderListing::BlockFile& file : listing.blocks) {
    BlockInfo& block = blocks->emplace_back();
    block.folder = folder;
    block.id = file.id;
    block.bytes = file.bytes;
    block.used_us = file.used_us;
  }
}

void AddLayout(const BlockInfo& block, StoreSummary* summary) {
  if (!block.unreadable.empty()) {
    ++summary->unreadable;
    return;
  }
  auto place = std::ranges::find(summary->layouts, block.layout, &StoreSummary::OfLayout::layout);
  if (place == summary->layouts.end()) {
    place = summary->layouts.insert(place, {.layout = block.layout});
  }
  ++place->blocks;
  place->bytes += block.bytes;
}

void AddBlock(const BlockInfo& block, StoreSummary* summary) {
  const std::int64_t used = block.used_us;
  summary->oldest_use_us = summary->blocks == 0 ? used : std::min(summary->oldest_use_us, used);
  summary->newest_use_us = std::max(summary->newest_use_us, used);
  ++summary->blocks;
  summary->bytes += block.bytes;
  AddLayout(block, summary);
}

StoreSummary::Files Sum(const std::vector<FolderListing::OtherFile>& files) {
  StoreSummary::Files sum;
  for (const FolderListing::OtherFile& file : files) {
    ++sum.count;
    sum.bytes += file.bytes;
  }
  return sum;
}

void AddSpace(const std::string& path, StoreSummary* summary) {
  std::error_code failed;
  const std::filesystem::space_info space = std::filesystem::space(path, failed);
  if (failed) return;
  summary->filesystem_bytes = space.capacity;
  summary->filesystem_free_bytes = space.available;
}

}  // namespace

Status CheckStoreFolders(std::span<const std::string> folders) {
  const std::unique_ptr<FileSystem> files =
      MakePackedFiles(MakeRealFileSystem(), {.look_only = true});
  for (const std::string& folder : folders) ESA_RETURN_IF_ERROR(CheckIsStore(*files, folder));
  return {};
}

Result<BlockList> ListBlocks(std::span<const std::string> folders, const ListOptions& options) {
  const std::unique_ptr<FileSystem> files =
      MakePackedFiles(MakeRealFileSystem(), {.look_only = true});
  BlockList list;
  for (const std::string& folder : folders) {
    ESA_ASSIGN_OR_RETURN(const FolderListing listing, ListFolder(*files, folder));
    AppendBlocks(folder, listing, &list.blocks);
  }
  list.total = list.blocks.size();
  std::ranges::sort(list.blocks, MoreRecent);
  if (list.blocks.size() > options.limit) list.blocks.resize(options.limit);
  if (options.headers) ReadHeaders(*files, &list.blocks);
  return list;
}

Result<StoreSummary> InspectFolder(const std::string& path, std::vector<BlockInfo>* blocks) {
  const std::unique_ptr<FileSystem> files =
      MakePackedFiles(MakeRealFileSystem(), {.look_only = true});
  ESA_ASSIGN_OR_RETURN(const FolderListing listing, ListFolder(*files, path));
  std::vector<BlockInfo> found;
  AppendBlocks(path, listing, &found);
  ReadHeaders(*files, &found);
  StoreSummary summary;
  for (const BlockInfo& block : found) AddBlock(block, &summary);
  if (blocks != nullptr) std::ranges::move(found, std::back_inserter(*blocks));
  summary.open = Sum(listing.temporaries);
  summary.leftovers = Sum(listing.leftovers);
  summary.quarantined = Sum(listing.quarantined);
  std::ranges::stable_sort(summary.layouts, std::ranges::greater(),
                           &StoreSummary::OfLayout::blocks);
  AddSpace(path, &summary);
  return summary;
}

}  // namespace esa
