// The cipher alone; what block files make of it is tested with their format.
#include "store/block_cipher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace esa::testing {
namespace {

using Buffer = std::vector<std::byte>;

Buffer Counting(std::size_t count, unsigned first = 0) {
  Buffer bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(first + i * 7);
  return bytes;
}

SecretKey KeyOf(unsigned first) {
  return SecretKey(std::span<const std::byte>(Counting(32, first)).first<32>());
}

// Test case 13 of the GCM specification (McGrew, Viega 2005), whose key, nonce and text are empty
// or zero, cannot be had here: a part's number is always bound. The golden files of the format
// stand against another implementation instead.
TEST(BlockCipher, OpensWhatItSealed) {
  const SecretKey key = KeyOf(1);
  const Buffer bound = Counting(96);
  for (const std::size_t size : {0u, 1u, 15u, 16u, 17u, 4096u, 65536u + 3u}) {
    const Buffer plain = Counting(size, 5);
    Buffer stored(size), opened(size);
    PartTag tag{};
    ASSERT_TRUE(SealBytes(key, 3, bound, plain, stored, &tag).ok());
    EXPECT_TRUE(size < 15 || stored != plain);
    ASSERT_TRUE(OpenBytes(key, 3, bound, stored, tag, opened).ok());
    EXPECT_EQ(opened, plain);
    Buffer in_place = plain;
    PartTag same{};
    ASSERT_TRUE(SealBytes(key, 3, bound, in_place, in_place, &same).ok());
    EXPECT_EQ(in_place, stored);
    EXPECT_EQ(same, tag);
    ASSERT_TRUE(OpenBytes(key, 3, bound, in_place, tag, in_place).ok());
    EXPECT_EQ(in_place, plain);
  }
}

TEST(BlockCipher, RefusesWhatItDidNotSeal) {
  const SecretKey key = KeyOf(1);
  const Buffer plain = Counting(100), bound = Counting(10, 9);
  Buffer stored(plain.size());
  PartTag tag{};
  ASSERT_TRUE(SealBytes(key, 3, bound, plain, stored, &tag).ok());
  const auto refused = [&](const SecretKey& with, std::uint32_t part, const Buffer& to,
                           const Buffer& bytes, const PartTag& by) {
    Buffer opened = Counting(bytes.size(), 1);
    const Status status = OpenBytes(with, part, to, bytes, by, opened);
    return !status && status.error().code == ErrorCode::kDataError &&
           std::ranges::count(opened, std::byte{0}) == std::ssize(opened);
  };
  EXPECT_FALSE(refused(key, 3, bound, stored, tag));
  EXPECT_TRUE(refused(KeyOf(2), 3, bound, stored, tag));
  EXPECT_TRUE(refused(key, 4, bound, stored, tag));
  EXPECT_TRUE(refused(key, 3, Counting(10, 8), stored, tag));
  EXPECT_TRUE(refused(key, 3, Counting(9, 9), stored, tag));
  Buffer altered = stored;
  altered[99] ^= std::byte{1};
  EXPECT_TRUE(refused(key, 3, bound, altered, tag));
  PartTag other = tag;
  other[15] ^= 1;
  EXPECT_TRUE(refused(key, 3, bound, stored, other));
  EXPECT_FALSE(refused(key, 3, bound, stored, tag));  // a failure leaves the thread's context good
}

TEST(BlockCipher, PartsNeverShareTheirStreams) {
  const SecretKey key = KeyOf(1);
  const Buffer zeros(64);
  std::vector<Buffer> streams;
  for (const std::uint32_t part : {0u, 1u, 256u, kTokens, kRepresentations}) {
    Buffer stream(zeros.size());
    PartTag tag{};
    ASSERT_TRUE(SealBytes(key, part, {}, zeros, stream, &tag).ok());
    EXPECT_EQ(std::ranges::count(streams, stream), 0);
    streams.push_back(std::move(stream));
  }
}

TEST(BlockCipher, WorksOnManyThreads) {
  std::vector<int> wrong(4);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < wrong.size(); ++t) {
      threads.emplace_back([&wrong, t] {
        for (std::uint32_t i = 0; i < 200; ++i) {
          const SecretKey key = KeyOf(static_cast<unsigned>(t) + i);
          const Buffer plain = Counting(1000, i);
          Buffer bytes(plain.size());
          PartTag tag{};
          const bool sealed = SealBytes(key, i, plain, plain, bytes, &tag).ok();
          const bool opened = OpenBytes(key, i, plain, bytes, tag, bytes).ok();
          if (!sealed || !opened || bytes != plain) ++wrong[t];
        }
      });
    }
  }
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(SecretKey, IsWipedWhenMoved) {
  static_assert(!std::is_copy_constructible_v<SecretKey>);
  SecretKey from = KeyOf(1);
  SecretKey to(std::move(from));
  EXPECT_TRUE(std::ranges::equal(to.bytes(), KeyOf(1).bytes()));
  EXPECT_TRUE(std::ranges::equal(from.bytes(), SecretKey().bytes()));  // NOLINT: what is tested
  from = std::move(to);
  EXPECT_TRUE(std::ranges::equal(from.bytes(), KeyOf(1).bytes()));
  EXPECT_TRUE(std::ranges::equal(to.bytes(), SecretKey().bytes()));
}

}  // namespace
}  // namespace esa::testing
