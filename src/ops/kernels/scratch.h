// Working memory that is kept between calls, so that no kernel allocates on the hot path.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace esa {

// Grows to the largest size asked for and never shrinks. Not thread-safe: declared thread_local
// where it is used.
class Scratch {
 public:
  // [count] values of unspecified content, valid until the next call.
  float* Floats(std::size_t count) {
    if (count > capacity_) {
      constexpr std::size_t kAlignment = 64;
      const std::size_t bytes = (count * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
      data_.reset(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
      if (!data_) throw std::bad_alloc();
      capacity_ = count;
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(float* data) const { std::free(data); }
  };
  std::unique_ptr<float[], Free> data_;
  std::size_t capacity_ = 0;
};

}  // namespace esa
