// Zero bytes in pages of their own, huge ones where the system has them: aligned to a page, and to
// a huge page from that size on. Memory is taken where it is first written.
#pragma once

#include <cstddef>
#include <memory>

namespace esa {

class ZeroedPages {
 public:
  ZeroedPages() = default;
  explicit ZeroedPages(std::size_t bytes);  // throws std::bad_alloc

  std::byte* data() const { return data_.get(); }  // null where there are no bytes
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  struct Unmap {
    void* mapped;
    std::size_t mapped_bytes;
    void operator()(std::byte*) const;
  };
  std::unique_ptr<std::byte, Unmap> data_;
  std::size_t size_ = 0;
};

}  // namespace esa
