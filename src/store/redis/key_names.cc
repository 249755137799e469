#include "store/redis/key_names.h"

#include <array>
#include <cstdio>
#include <span>

#include "store/checksum.h"
#include "store/posix/block_format.h"

namespace esa {
namespace {

// Blocks of another layout or version of the format have other names: stores of both kinds share a
// server without seeing each other.
std::string DigestOf(const BlockLayout& layout) {
  const std::array<std::uint64_t, 5> fields = {kBlockVersion, layout.block_tokens,
                                               layout.num_slices, layout.slice_bytes,
                                               layout.representation_bytes};
  char digest[17];
  std::snprintf(digest, sizeof(digest), "%016llx",
                static_cast<unsigned long long>(Checksum(std::as_bytes(std::span(fields)))));
  return digest;
}

}  // namespace

RedisKeyNames::RedisKeyNames(const BlockLayout& layout)
    : block_prefix_("esa:b:" + DigestOf(layout) + ":") {}

}  // namespace esa
