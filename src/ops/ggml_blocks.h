// Rows of weights in the block formats of GGUF files, to f32.
//
// A row is whole blocks, each some values with their scales. Formats, sizes and bit layouts:
// ggml-org/ggml, src/ggml-common.h (block_q4_K and the like) and docs/gguf.md.
// Threading: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace esa {

struct GgmlFormat {
  std::string_view name;  // "Q4_K"; F32, F16 and BF16 are formats with blocks of one value
  std::uint32_t id = 0;   // in files
  std::int64_t block_values = 0;
  std::int64_t block_bytes = 0;
  // `values` of them, a whole number of blocks; blocks need no alignment.
  void (*widen)(const std::byte* blocks, std::int64_t values, float* out) = nullptr;
};

// All that are known.
std::span<const GgmlFormat> GgmlFormats();

// Null: not known.
const GgmlFormat* FindGgmlFormat(std::string_view name);
const GgmlFormat* FindGgmlFormat(std::uint32_t id);

}  // namespace esa
