// 256 bits that encrypt: wiped from memory when let go of, moved and never copied, printed by
// nothing. Not thread-safe while it changes.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace esa {

class SecretKey {
 public:
  static constexpr std::size_t kBytes = 32;

  SecretKey() = default;
  explicit SecretKey(std::span<const std::byte, kBytes> bytes);
  ~SecretKey() { Wipe(); }
  SecretKey(SecretKey&& other) noexcept;
  SecretKey& operator=(SecretKey&& other) noexcept;

  std::span<const std::byte, kBytes> bytes() const { return bytes_; }

 private:
  void Wipe();

  std::array<std::byte, kBytes> bytes_{};
};

}  // namespace esa
