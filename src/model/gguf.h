// A GGUF file: metadata and tensors in one memory-mapped file, or in the files that one was split
// into.
//
// Every length is checked against the file before it is used. Source: ggml-org/ggml, docs/gguf.md.
// Threading: immutable after Open. Ownership: views point into the mappings and live as long as the
// object (moving it keeps them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "esa/result.h"
#include "model/mapped_file.h"
#include "ops/ggml_blocks.h"

namespace esa {

// A file, named as such files are: its ending is .gguf.
bool IsGguf(const std::filesystem::path& path);

struct GgufTensor {
  std::string file;                 // its path, for messages
  std::string type;                 // "Q4_K", or "type 21" where that is not known
  std::vector<std::int64_t> shape;  // row-major: the last is the length of a row
  std::span<const std::byte> bytes;
};

class GgufFile {
 public:
  // `path` of a split model: its first file. Errors (kDataError, kNotFound, kIoError) name the
  // file, the key or tensor, what was found and what was expected.
  static Result<GgufFile> Open(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, GgufTensor, std::less<>>& tensors() const { return tensors_; }
  bool Has(std::string_view key) const { return values_.contains(key); }

  // Metadata. Without a fallback the key must be there; a value of another kind is an error.
  Result<std::uint64_t> Integer(std::string_view key,
                                std::optional<std::uint64_t> fallback = {}) const;
  Result<double> Real(std::string_view key, std::optional<double> fallback = {}) const;
  Result<bool> Bool(std::string_view key, bool fallback) const;
  Result<std::string> Text(std::string_view key, std::optional<std::string> fallback = {}) const;
  Result<std::vector<std::string_view>> Texts(std::string_view key) const;
  Result<std::vector<std::int64_t>> Integers(std::string_view key) const;

  // Tells the kernel that all of it will be read soon.
  void AdviseHotRead() const;

 private:
  struct Array {
    std::uint32_t type = 0;
    std::uint64_t count = 0;
    std::span<const std::byte> bytes;  // from its first element to the end of the file
  };
  using Value = std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, Array>;
  class Reader;
  struct Placed;

  Status AddFile(const std::filesystem::path& path, bool first);
  Status AddSplits(const std::filesystem::path& path);
  const Value* Find(std::string_view key) const;
  Error Wrong(std::string_view key, std::string_view expected) const;

  std::string path_;
  std::vector<MappedFile> files_;
  std::map<std::string, Value, std::less<>> values_;  // of the first file
  std::map<std::string, GgufTensor, std::less<>> tensors_;
};

}  // namespace esa
