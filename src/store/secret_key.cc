#include "store/secret_key.h"

#include <openssl/crypto.h>

#include <algorithm>

namespace esa {

SecretKey::SecretKey(std::span<const std::byte, kBytes> bytes) {
  std::ranges::copy(bytes, bytes_.begin());
}

SecretKey::SecretKey(SecretKey&& other) noexcept : bytes_(other.bytes_) { other.Wipe(); }

SecretKey& SecretKey::operator=(SecretKey&& other) noexcept {
  if (this == &other) return *this;
  bytes_ = other.bytes_;
  other.Wipe();
  return *this;
}

void SecretKey::Wipe() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

}  // namespace esa
