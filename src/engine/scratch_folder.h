// A folder of our own under the temporary directory, removed with everything in it at the end.
#pragma once

#include <filesystem>
#include <memory>

#include "esa/result.h"

namespace esa {

class ScratchFolder {
 public:
  // Under TMPDIR, else /var/tmp, which is on disk where /tmp may be memory.
  static Result<std::unique_ptr<ScratchFolder>> Create();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace esa
