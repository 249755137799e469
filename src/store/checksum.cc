#include "store/checksum.h"

#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // XXH3_64bits with the widest vectors that the processor has
#else
#include <xxhash.h>
#endif

namespace esa {

std::uint64_t Checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace esa
