#include "model/weight_memory.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace esa {
namespace {

constexpr std::size_t kPieceBytes = 64u << 20;
constexpr std::size_t kAlignment = 64;

}  // namespace

std::byte* WeightMemory::Take(std::int64_t bytes) {
  const std::size_t size =
      (static_cast<std::size_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
  if (pieces_.empty() || used_ + size > pieces_.back().size()) {
    pieces_.emplace_back(std::max(size, kPieceBytes));
    used_ = 0;
  }
  std::byte* data = pieces_.back().data() + used_;
  used_ += size;
  return data;
}

// Source: proc(5), /proc/meminfo.
std::uint64_t AvailableMemory() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::uint64_t kibibytes = 0;
  std::string unit;
  while (file >> name >> kibibytes >> unit) {
    if (name == "MemAvailable:") return kibibytes * 1024;
  }
  return 0;
}

}  // namespace esa
