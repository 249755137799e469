#include "store/posix/folder_listing.h"

#include <unordered_map>

#include "base/status_macros.h"
#include "store/posix/file_names.h"

namespace esa {
namespace {

class Owners {
 public:
  Owners(FileSystem& files, const std::string& folder) : files_(files), folder_(folder) {}

  // An owner file is looked for before its lock is tried: to try creates the file. One that nobody
  // can tell about counts as living, since what it writes must not be called a leftover.
  bool Lives(const std::string& owner) {
    const auto [place, added] = lives_.try_emplace(owner, false);
    if (!added) return place->second;
    const std::string path = OwnerPath(folder_, owner);
    if (files_.Stat(path).ok()) {
      const auto lock = files_.Lock(path, false);
      place->second = !lock || *lock == nullptr;
    }
    return place->second;
  }

 private:
  FileSystem& files_;
  const std::string& folder_;
  std::unordered_map<std::string, bool> lives_;
};

struct Walk {
  FileSystem& files;
  Owners owners;
  FolderListing listing;
};

void AddFile(Walk* walk, const std::string& folder, const std::string& name) {
  const std::optional<BlockId> id = ParseBlockName(name);
  const std::optional<std::string> owner = OwnerOfTemporary(name);
  if (!id && !owner) return;
  const std::string path = folder + "/" + name;
  const Result<PathInfo> info = walk->files.Stat(path);
  if (!info || info->folder) return;
  if (id) {
    walk->listing.blocks.push_back({*id, info->bytes, info->modified_us});
  } else if (walk->owners.Lives(*owner)) {
    walk->listing.temporaries.push_back({path, info->bytes, info->modified_us});
  } else {
    walk->listing.leftovers.push_back({path, info->bytes, info->modified_us});
  }
}

void AddQuarantine(Walk* walk, const std::string& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (!ParseBlockName(name)) continue;
    const std::string path = folder + "/" + name;
    const Result<PathInfo> info = walk->files.Stat(path);
    if (!info || info->folder) continue;
    walk->listing.quarantined.push_back({path, info->bytes, info->modified_us});
  }
}

Status AddFolder(Walk* walk, const std::string& path, bool quarantine) {
  ESA_ASSIGN_OR_RETURN(const std::vector<std::string> names, walk->files.List(path));
  if (quarantine) {
    AddQuarantine(walk, path, names);
  } else {
    for (const std::string& name : names) AddFile(walk, path, name);
  }
  return {};
}

}  // namespace

Status CheckIsStore(FileSystem& files, const std::string& path) {
  ESA_ASSIGN_OR_RETURN(const PathInfo info, files.Stat(path));
  if (!info.folder) return InvalidArgument(path + ": expected a folder, found a file");
  ESA_RETURN_IF_ERROR(files.List(path));  // names that may not be read are not names missing
  const Result<PathInfo> lock = files.Stat(path + "/" + kLockName);
  const Result<PathInfo> quarantine = files.Stat(path + "/" + kQuarantineName);
  if (lock.ok() && !lock->folder && quarantine.ok() && quarantine->folder) return {};
  return InvalidArgument(path + ": not a folder of a block store: expected the file \"" +
                         kLockName + "\" and the folder \"" + kQuarantineName + "\" in it");
}

Result<FolderListing> ListFolder(FileSystem& files, const std::string& path) {
  ESA_RETURN_IF_ERROR(CheckIsStore(files, path));
  ESA_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(path));
  Walk walk{.files = files, .owners = Owners(files, path), .listing = {}};
  for (const std::string& name : names) {
    const bool quarantine = name == kQuarantineName;
    if (quarantine || IsFanOutName(name)) {
      ESA_RETURN_IF_ERROR(AddFolder(&walk, path + "/" + name, quarantine));
    }
  }
  return std::move(walk.listing);
}

}  // namespace esa
