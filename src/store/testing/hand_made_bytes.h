// Bytes put together by hand, little-endian, for tests of what stands on disk.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "store/checksum.h"

namespace esa::testing {

class Bytes {
 public:
  Bytes& Text(const std::string& text) {
    bytes_ += text;
    return *this;
  }
  template <class T>
  Bytes& Int(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<char>((static_cast<std::uint64_t>(value) >> (8 * i)) & 255));
    }
    return *this;
  }
  Bytes& Hex(const std::string& digits) {
    for (std::size_t i = 0; i < digits.size(); i += 2) {
      bytes_.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
    }
    return *this;
  }
  Bytes& Counting(std::uint8_t first, int count) {
    for (int i = 0; i < count; ++i) bytes_.push_back(static_cast<char>(first++));
    return *this;
  }
  Bytes& PadTo(std::size_t size) {
    EXPECT_LE(bytes_.size(), size);
    bytes_.resize(size, '\0');
    return *this;
  }
  Bytes& Fill(char value, std::size_t count) {
    bytes_.append(count, value);
    return *this;
  }
  // With the checksum before it.
  std::string Sealed() const {
    return Bytes().Int(Checksum(std::as_bytes(std::span(bytes_)))).Text(bytes_).get();
  }
  const std::string& get() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace esa::testing
