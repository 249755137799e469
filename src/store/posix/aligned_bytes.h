// Bytes on the heap, 4096-aligned, as O_DIRECT wants them. Zeroed.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>

namespace esa {

inline constexpr std::size_t kIoAlignment = 4096;

constexpr std::size_t AlignedSize(std::size_t bytes) {
  return (bytes + kIoAlignment - 1) / kIoAlignment * kIoAlignment;
}

class AlignedBytes {
 public:
  // Rounded up to a multiple of 4096.
  explicit AlignedBytes(std::size_t bytes)
      : size_(AlignedSize(bytes)),
        data_(static_cast<std::byte*>(::operator new[](size_, std::align_val_t{kIoAlignment}))) {
    std::memset(data_.get(), 0, size_);
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  std::span<std::byte> span() { return {data_.get(), size_}; }

 private:
  struct Delete {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{kIoAlignment}); }
  };
  std::size_t size_;
  std::unique_ptr<std::byte[], Delete> data_;
};

}  // namespace esa
