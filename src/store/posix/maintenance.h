// How what maintains a folder takes it into use: as a store does, but without bound or eviction.
#pragma once

#include <memory>
#include <string>

#include "esa/result.h"
#include "store/posix/file_system.h"
#include "store/posix/folder.h"

namespace esa {

// Errors: CheckIsStore's, so that nothing is created where no store is, and Folder::Open's, which
// refuses what others may write to or own unless `allow_shared`.
Result<std::unique_ptr<Folder>> OpenForMaintenance(FileSystem& files, const std::string& path,
                                                   bool allow_shared);

}  // namespace esa
