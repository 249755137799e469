// The checksum of everything a store keeps: XXH3, 64 bits, no seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace esa {

std::uint64_t Checksum(std::span<const std::byte> bytes);

}  // namespace esa
