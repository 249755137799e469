// A file mapped read-only, whole.
//
// Move-only; the bytes stay where they are when it is moved. A file that another process shortens
// while it is mapped ends this process at the next access (SIGBUS), as with every mapping.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "esa/result.h"

namespace esa {

// Lets go of the memory of a mapping's pages that lie in this range; they are read again where they
// are needed. Only advice.
void ReleasePages(std::span<const std::byte> mapped);

class MappedFile {
 public:
  // Errors: kNotFound where there is no such file, else kIoError; the message names the file.
  static Result<MappedFile> Open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Tells the kernel that all of it will be read soon and often. Only advice: a failure is ignored.
  void AdviseHotRead() const;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace esa
