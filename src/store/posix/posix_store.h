// The posix store over a file system of the caller's: for tests that inject faults.
#pragma once

#include <memory>

#include "esa/block_store.h"
#include "store/posix/file_system.h"

namespace esa {

Result<std::unique_ptr<BlockStore>> CreatePosixStoreOn(std::unique_ptr<FileSystem> files,
                                                       const StoreConfig& config,
                                                       const BlockLayout& layout);

}  // namespace esa
