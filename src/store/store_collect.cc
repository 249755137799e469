// CollectFolder: what goes, and in which order.
#include <algorithm>
#include <memory>

#include "base/status_macros.h"
#include "store/block_index.h"
#include "store/posix/file_names.h"
#include "store/posix/folder.h"
#include "store/posix/folder_listing.h"
#include "store/posix/maintenance.h"
#include "store/posix/packed_files.h"
#include "store/store_maintenance.h"

namespace esa {
namespace {

using Files = StoreSummary::Files;
using OtherFile = FolderListing::OtherFile;

void Add(std::uint64_t bytes, Files* sum) {
  ++sum->count;
  sum->bytes += bytes;
}

Files Sum(const std::vector<OtherFile>& files) {
  Files sum;
  for (const OtherFile& file : files) Add(file.bytes, &sum);
  return sum;
}

class Collector {
 public:
  // folder: null for a dry run.
  Collector(FileSystem& files, const std::string& path, const CollectOptions& options,
            Folder* folder)
      : files_(files), path_(path), options_(options), folder_(folder) {}

  Result<CollectReport> Run(const FolderListing& listing) {
    report_.leftovers = Sum(listing.leftovers);  // opening the folder has removed them
    report_.open = Sum(listing.temporaries);
    for (const FolderListing::BlockFile& block : listing.blocks) {
      index_.Put(block.id, {block.bytes, block.used_us});
    }
    ESA_RETURN_IF_ERROR(TrimQuarantine(listing.quarantined));
    ESA_RETURN_IF_ERROR(EvictUnused());
    ESA_RETURN_IF_ERROR(EvictToCapacity());
    report_.kept.count += index_.blocks();
    report_.kept.bytes += index_.bytes();
    return report_;
  }

 private:
  Status TrimQuarantine(std::vector<OtherFile> quarantined) {
    const std::size_t keep = options_.empty_quarantine ? 0 : kMaxQuarantined;
    std::ranges::sort(quarantined, std::ranges::greater(), &OtherFile::used_us);
    for (std::size_t i = keep; i < quarantined.size(); ++i) {
      const Status removed = folder_ == nullptr ? Status() : files_.Remove(quarantined[i].path);
      if (IsNotFound(removed)) continue;
      ESA_RETURN_IF_ERROR(removed);
      Add(quarantined[i].bytes, &report_.quarantined);
    }
    return {};
  }

  Status EvictUnused() {
    if (!options_.used_since_us) return {};
    for (auto id = index_.Oldest(); id; id = index_.Oldest()) {
      if (index_.Find(*id)->stamp_us >= *options_.used_since_us) break;
      ESA_RETURN_IF_ERROR(Evict(*id, *options_.used_since_us, &report_.expired));
    }
    return {};
  }

  Status EvictToCapacity() {
    if (!options_.capacity_bytes) return {};
    for (auto id = index_.Oldest(); id; id = index_.Oldest()) {
      const std::uint64_t used = index_.bytes() + report_.kept.bytes + report_.open.bytes;
      if (used <= *options_.capacity_bytes) break;
      ESA_RETURN_IF_ERROR(Evict(*id, index_.Find(*id)->stamp_us + 1, &report_.evicted));
    }
    return {};
  }

  // A block that a store has used meanwhile, so that its recency is `stays_from_us` now, stays.
  Status Evict(const BlockId& id, std::int64_t stays_from_us, Files* sum) {
    const BlockIndex::Entry entry = *index_.Find(id);
    index_.Erase(id);
    if (folder_ == nullptr) {
      Add(entry.bytes, sum);
      return {};
    }
    const Result<PathInfo> info = files_.Stat(BlockPath(path_, id));
    if (info.ok() && info->modified_us >= stays_from_us) {
      Add(entry.bytes, &report_.kept);
      return {};
    }
    const Status removed = folder_->Remove(id);
    if (IsNotFound(removed)) return {};
    ESA_RETURN_IF_ERROR(removed);
    Add(entry.bytes, sum);
    return {};
  }

  FileSystem& files_;
  const std::string& path_;
  const CollectOptions& options_;
  Folder* const folder_;
  BlockIndex index_;
  CollectReport report_;
};

}  // namespace

Result<CollectReport> CollectFolder(const std::string& path, const CollectOptions& options) {
  const std::unique_ptr<FileSystem> files =
      MakePackedFiles(MakeRealFileSystem(), {.look_only = options.dry_run});
  ESA_ASSIGN_OR_RETURN(const FolderListing listing, ListFolder(*files, path));
  std::unique_ptr<Folder> folder;
  if (!options.dry_run) {
    ESA_ASSIGN_OR_RETURN(folder, OpenForMaintenance(*files, path, options.allow_shared_folder));
  }
  return Collector(*files, path, options, folder.get()).Run(listing);
}

}  // namespace esa
