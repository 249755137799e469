#include "base/zeroed_pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace esa {
namespace {

constexpr std::size_t kHugePage = 2u << 20;

}  // namespace

ZeroedPages::ZeroedPages(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  const bool huge = bytes >= kHugePage;
  const std::size_t mapped = huge ? bytes + kHugePage : bytes;
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* data = static_cast<std::byte*>(memory);
  if (huge) {
    data += (kHugePage - reinterpret_cast<std::uintptr_t>(data) % kHugePage) % kHugePage;
    madvise(data, bytes, MADV_HUGEPAGE);
  }
  data_ = std::unique_ptr<std::byte, Unmap>(data, Unmap{memory, mapped});
}

void ZeroedPages::Unmap::operator()(std::byte*) const { munmap(mapped, mapped_bytes); }

}  // namespace esa
