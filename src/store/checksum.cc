#include "store/checksum.h"

#include <xxhash.h>

namespace esa {

std::uint64_t Checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace esa
