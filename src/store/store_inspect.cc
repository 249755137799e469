#include "store/store_inspect.h"

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "base/status_macros.h"
#include "store/posix/block_format.h"
#include "store/posix/file_names.h"
#include "store/posix/file_system.h"

namespace esa {
namespace {

Result<BlockLayout> LayoutOf(FileSystem& files, const std::string& path) {
  ESA_ASSIGN_OR_RETURN(const std::unique_ptr<File> file, files.Open(path, {}));
  std::array<std::byte, kFieldsBytes> bytes{};
  ESA_RETURN_IF_ERROR(ReadFully(*file, path, 0, bytes));
  ESA_ASSIGN_OR_RETURN(const BlockFields fields, DecodeFields(bytes));
  return fields.layout;
}

void AddLayout(StoreSummary* summary, const Result<BlockLayout>& layout) {
  if (!layout) {
    ++summary->unreadable;
    return;
  }
  for (StoreSummary::OfLayout& known : summary->layouts) {
    if (known.layout != *layout) continue;
    ++known.blocks;
    return;
  }
  summary->layouts.push_back({*layout, 1});
}

void AddFile(FileSystem& files, const std::string& folder, const std::string& name,
             StoreSummary* summary) {
  const bool block = ParseBlockName(name).has_value();
  if (!block && !OwnerOfTemporary(name)) return;
  const std::string path = folder + "/" + name;
  const Result<PathInfo> info = files.Stat(path);
  if (!info) return;
  if (!block) {
    ++summary->temporaries;
    summary->temporary_bytes += info->bytes;
    return;
  }
  const std::int64_t used = info->modified_us;
  summary->oldest_use_us = summary->blocks == 0 ? used : std::min(summary->oldest_use_us, used);
  summary->newest_use_us = std::max(summary->newest_use_us, used);
  ++summary->blocks;
  summary->bytes += info->bytes;
  AddLayout(summary, LayoutOf(files, path));
}

}  // namespace

Result<StoreSummary> InspectFolder(const std::string& path) {
  const std::unique_ptr<FileSystem> files = MakeRealFileSystem();
  ESA_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List(path));
  StoreSummary summary;
  for (const std::string& name : names) {
    const std::string inner = path + "/" + name;
    if (name == kQuarantineName) {
      if (const auto quarantined = files->List(inner)) summary.quarantined = quarantined->size();
    }
    if (!IsFanOutName(name)) continue;
    const auto entries = files->List(inner);
    if (!entries) continue;
    for (const std::string& entry : *entries) AddFile(*files, inner, entry, &summary);
  }
  std::ranges::stable_sort(summary.layouts, std::ranges::greater(),
                           &StoreSummary::OfLayout::blocks);
  return summary;
}

}  // namespace esa
