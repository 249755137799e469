#include "store/posix/maintenance.h"

#include "base/status_macros.h"
#include "store/posix/folder_listing.h"

namespace esa {

Result<std::unique_ptr<Folder>> OpenForMaintenance(FileSystem& files, const std::string& path,
                                                   bool allow_shared) {
  ESA_RETURN_IF_ERROR(CheckIsStore(files, path));
  Folder::Options options;
  options.path = path;
  options.allow_shared = allow_shared;
  return Folder::Open(files, std::move(options));
}

}  // namespace esa
