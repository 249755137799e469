#include "kv/block_hasher.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace esa {
namespace {

using Bytes = std::vector<std::uint8_t>;

void AppendInt(Bytes& bytes, std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) {
    bytes.push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

std::array<std::uint8_t, 32> HmacSha256(std::span<const std::uint8_t> key,
                                        std::span<const std::uint8_t> message) {
  std::array<std::uint8_t, 32> digest{};
  unsigned int length = 0;
  ESA_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), message.data(),
                 message.size(), digest.data(), &length) != nullptr);
  return digest;
}

}  // namespace

std::string BlockId::Hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (std::uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

BlockHasher::BlockHasher(std::span<const std::uint8_t> computation, const KvGeometry& geometry,
                         const std::string& tenant)
    : block_tokens_(geometry.slice.block_tokens) {
  Bytes seed(computation.begin(), computation.end());
  AppendInt(seed, static_cast<std::uint64_t>(geometry.num_layers));
  AppendInt(seed, static_cast<std::uint64_t>(geometry.num_kv_heads));
  AppendInt(seed, static_cast<std::uint64_t>(geometry.slice.block_tokens));
  AppendInt(seed, static_cast<std::uint64_t>(geometry.slice.head_dim));
  AppendInt(seed, static_cast<std::uint64_t>(geometry.slice.dtype));
  const Bytes salt(tenant.begin(), tenant.end());
  // An empty key pointer would mean "reuse the last key" to HMAC.
  const Bytes unsalted{0};
  key_ = HmacSha256(salt.empty() ? unsalted : salt, seed);
  root_ = Digest({});
}

BlockId BlockHasher::Digest(std::span<const std::uint8_t> message) const {
  const auto full = HmacSha256(key_, message);
  BlockId id;
  std::copy_n(full.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

BlockId BlockHasher::Next(const BlockId& parent, std::span<const std::int32_t> tokens) const {
  ESA_CHECK(static_cast<int>(tokens.size()) == block_tokens_);
  Bytes message(parent.bytes.size() + tokens.size_bytes());
  std::memcpy(message.data(), parent.bytes.data(), parent.bytes.size());
  std::memcpy(message.data() + parent.bytes.size(), tokens.data(), tokens.size_bytes());
  return Digest(message);
}

std::vector<BlockId> BlockHasher::Chain(std::span<const std::int32_t> tokens) const {
  const std::size_t block = static_cast<std::size_t>(block_tokens_);
  std::vector<BlockId> ids;
  ids.reserve(tokens.size() / block);
  BlockId parent = root_;
  for (std::size_t at = 0; at + block <= tokens.size(); at += block) {
    parent = Next(parent, tokens.subspan(at, block));
    ids.push_back(parent);
  }
  return ids;
}

}  // namespace esa
