// FindBlocks, RemoveBlocks, RemoveAllBlocks.
#include <algorithm>
#include <limits>
#include <map>
#include <memory>

#include "base/status_macros.h"
#include "store/block_chains.h"
#include "store/posix/maintenance.h"
#include "store/posix/packed_files.h"
#include "store/store_maintenance.h"

namespace esa {
namespace {

constexpr std::size_t kMinDigits = 4;
constexpr std::size_t kIdDigits = 32;

using Files = StoreSummary::Files;

Result<std::string> ParsePrefix(const std::string& text) {
  std::string digits = text;
  std::ranges::transform(digits, digits.begin(),
                         [](char c) { return c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c; });
  const bool hexadecimal = digits.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (hexadecimal && digits.size() >= kMinDigits && digits.size() <= kIdDigits) return digits;
  return InvalidArgument("\"" + text + "\" is no block: expected " + std::to_string(kMinDigits) +
                         " to " + std::to_string(kIdDigits) + " hexadecimal digits of an id");
}

// Of one block, which may lie in several folders when their number has changed.
Result<std::vector<std::size_t>> Matches(std::span<const BlockInfo> blocks,
                                         const std::string& text) {
  ESA_ASSIGN_OR_RETURN(const std::string digits, ParsePrefix(text));
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (!blocks[i].id.Hex().starts_with(digits)) continue;
    if (!found.empty() && blocks[found[0]].id != blocks[i].id) {
      return InvalidArgument("\"" + text + "\" is not unique: " + blocks[found[0]].id.Hex() +
                             " and " + blocks[i].id.Hex() + " begin so");
    }
    found.push_back(i);
  }
  if (found.empty()) return NotFound("no block begins with " + digits);
  return found;
}

}  // namespace

Result<std::vector<BlockInfo>> FindBlocks(std::span<const std::string> folders,
                                          std::span<const std::string> prefixes, bool chain) {
  ESA_ASSIGN_OR_RETURN(const BlockList list, ListBlocks(folders, {.headers = chain}));
  std::vector<std::size_t> wanted;
  for (const std::string& prefix : prefixes) {
    ESA_ASSIGN_OR_RETURN(const std::vector<std::size_t> matches, Matches(list.blocks, prefix));
    wanted.insert(wanted.end(), matches.begin(), matches.end());
  }
  if (chain) wanted = BlockChains(list.blocks).WithDescendants(wanted);
  // By recency, where a parent stands before what continues it; from its end.
  std::ranges::sort(wanted, std::ranges::greater());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  std::vector<BlockInfo> blocks;
  for (const std::size_t i : wanted) blocks.push_back(list.blocks[i]);
  return blocks;
}

Result<Files> RemoveBlocks(std::span<const BlockInfo> blocks, bool allow_shared_folder) {
  const std::unique_ptr<FileSystem> files = MakePackedFiles(MakeRealFileSystem());
  std::map<std::string, std::unique_ptr<Folder>> folders;
  Files removed;
  for (const BlockInfo& block : blocks) {
    std::unique_ptr<Folder>& folder = folders[block.folder];
    if (folder == nullptr) {
      ESA_ASSIGN_OR_RETURN(folder, OpenForMaintenance(*files, block.folder, allow_shared_folder));
    }
    const Status gone = folder->Remove(block.id);
    if (!gone && gone.error().code == ErrorCode::kNotFound) continue;
    ESA_RETURN_IF_ERROR(gone);
    ++removed.count;
    removed.bytes += block.bytes;
  }
  return removed;
}

Result<CollectReport> RemoveAllBlocks(const std::string& path, const RemoveAllOptions& options) {
  return CollectFolder(path, {.used_since_us = std::numeric_limits<std::int64_t>::max(),
                              .empty_quarantine = true,
                              .allow_shared_folder = options.allow_shared_folder,
                              .dry_run = options.dry_run});
}

}  // namespace esa
