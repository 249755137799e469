// A safetensors file: named tensors in one memory-mapped file.
//
// The header is checked against the file before anything is handed out: every tensor lies inside
// the file, has the bytes its shape and type need, and the tensors cover the data without holes or
// overlaps. Source: the format's description in huggingface/safetensors, README.md "Format".
// Threading: immutable after Open. Ownership: views point into the mapping and live as long as the
// file (moving it keeps them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"
#include "model/mapped_file.h"

namespace esa {

struct TensorView {
  std::string dtype;                 // as the format spells it: "F32", "BF16", "I64"
  std::vector<std::int64_t> shape;   // row-major
  std::span<const std::byte> bytes;  // little-endian; aligned to nothing
};

using TensorMap = std::map<std::string, TensorView, std::less<>>;  // by rising name

class SafetensorsFile {
 public:
  // Larger headers are refused, as by the format's reference reader.
  static constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

  // Errors (kDataError) name the file, the tensor where there is one, what was found and expected.
  static Result<SafetensorsFile> Open(const std::filesystem::path& path);

  const TensorMap& tensors() const { return tensors_; }
  void AdviseHotRead() const { file_.AdviseHotRead(); }

 private:
  SafetensorsFile(MappedFile file, TensorMap tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  MappedFile file_;
  TensorMap tensors_;
};

// "[2, 3]"
std::string ShapeText(std::span<const std::int64_t> shape);

}  // namespace esa
