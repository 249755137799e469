#include "store/layout_check.h"

#include <string>

namespace esa {
namespace {

// Generous against every model we know; they keep sizes computed from a layout far from overflow,
// also when the layout was read from a damaged file.
constexpr std::uint32_t kMaxBlockTokens = 1u << 20;
constexpr std::uint32_t kMaxSlices = 1u << 20;
constexpr std::uint64_t kMaxSliceBytes = 1ull << 32;
constexpr std::uint32_t kMaxRepresentationBytes = 1u << 24;

Status CheckRange(const char* field, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
  if (value >= low && value <= high) return {};
  return InvalidArgument("block layout: " + std::string(field) + " is " + std::to_string(value) +
                         ", expected " + std::to_string(low) + " to " + std::to_string(high));
}

}  // namespace

Status CheckLayout(const BlockLayout& layout) {
  if (Status s = CheckRange("block_tokens", layout.block_tokens, 1, kMaxBlockTokens); !s) return s;
  if (Status s = CheckRange("num_slices", layout.num_slices, 1, kMaxSlices); !s) return s;
  if (Status s = CheckRange("slice_bytes", layout.slice_bytes, 4096, kMaxSliceBytes); !s) return s;
  if (Status s = CheckRange("representation_bytes", layout.representation_bytes, 0,
                            kMaxRepresentationBytes);
      !s) {
    return s;
  }
  if (layout.slice_bytes % 4096 != 0) {
    return InvalidArgument("block layout: slice_bytes is " + std::to_string(layout.slice_bytes) +
                           ", expected a multiple of 4096");
  }
  return {};
}

}  // namespace esa
