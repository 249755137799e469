// Where weights lie that are not left in their file: huge pages, a few large pieces.
//
// Move-only; what was taken stays where it is until the object ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/zeroed_pages.h"

namespace esa {

class WeightMemory {
 public:
  // `bytes` zero bytes, aligned to a cache line. Throws std::bad_alloc.
  std::byte* Take(std::int64_t bytes);

 private:
  std::vector<ZeroedPages> pieces_;
  std::size_t used_ = 0;  // of the last piece
};

// Memory that can be had without taking it from a running program; 0: not known.
std::uint64_t AvailableMemory();

}  // namespace esa
