// The format of block files, against a file built by hand from docs/formats/block.md.
#include "store/posix/block_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using ::testing::HasSubstr;

constexpr BlockLayout kTiny{
    .block_tokens = 3, .num_slices = 2, .slice_bytes = 4096, .representation_bytes = 8};

BlockId CountingId(std::uint8_t first) {
  BlockId id;
  for (std::uint8_t& byte : id.bytes) byte = first++;
  return id;
}

class Bytes {
 public:
  Bytes& Text(const char* text) {
    bytes_.append(text);
    return *this;
  }
  template <class T>
  Bytes& Int(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<char>((static_cast<std::uint64_t>(value) >> (8 * i)) & 255));
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
  const std::string& get() const { return bytes_; }

 private:
  std::string bytes_;
};

// XXH3-64 of 4096 times 'a', of 4096 times 'b', of the bytes 0x20 to 0x2f, and of the head below;
// computed with libxxhash 0.8.1 alone, not with our code.
constexpr std::uint64_t kSumA = 0x88a30670e919701eull;
constexpr std::uint64_t kSumB = 0x0df704f8066c4e09ull;
constexpr std::uint64_t kSumRepresentations = 0xbebc4a4705ffa0ecull;
constexpr std::uint64_t kSumHead = 0x7f9298d300862af0ull;

std::string HandMadeHead() {
  return Bytes()
      .Text("ESABLOCK")
      .Int(std::uint32_t{1})  // version
      .Int(std::uint32_t{3})  // block_tokens
      .Int(std::uint32_t{2})  // num_slices
      .Int(std::uint32_t{8})  // representation_bytes
      .Int(std::uint64_t{4096})
      .Counting(0x10, 16)     // id
      .Counting(0x40, 16)     // parent
      .Int(std::uint64_t{3})  // num_tokens
      .Int(std::uint64_t{16384})
      .Int(kSumRepresentations)
      .Int(std::uint64_t{0})
      .Int(std::int32_t{7})
      .Int(std::int32_t{-1})
      .Int(std::int32_t{100000})
      .PadTo(112)
      .Int(kSumA)
      .Int(kSumB)
      .get();
}

std::string HandMadeFile() {
  const std::string head = HandMadeHead();
  const std::string tail = Bytes()
                               .Int(kSumHead)
                               .PadTo(4096 - head.size())
                               .Counting(0x20, 16)
                               .PadTo(8192 - head.size())
                               .Fill('a', 4096)
                               .Fill('b', 4096)
                               .get();
  return head + tail;
}

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

const std::vector<std::int32_t> kTokens = {7, -1, 100000};
const std::string kIdHex = "101112131415161718191a1b1c1d1e1f";

StoreConfig ConfigOf(const std::string& folder) {
  StoreConfig config;
  config.storage_backends = {folder};
  return config;
}

TEST(BlockFormat, AStoreWritesTheGoldenBytes) {
  const TemporaryFolder folder;
  {
    const auto store = *CreateBlockStore(ConfigOf(folder.path()), kTiny);
    const BlockId id = CountingId(0x10);
    ASSERT_TRUE(*store->Begin({id, kTokens}, CountingId(0x40)));
    const std::string data = std::string(4096, 'a') + std::string(4096, 'b');
    const std::string means = Bytes().Counting(0x20, 16).get();
    const auto* slices = reinterpret_cast<const std::byte*>(data.data());
    const auto* representations = reinterpret_cast<const std::byte*>(means.data());
    const TaskResult result =
        Finish(*store, store->Dump({{id, 1, slices + 4096, representations + 8},
                                    {id, 0, slices, representations}}));
    EXPECT_TRUE(result.failures.empty());
  }
  EXPECT_EQ(ReadWhole(folder.path() + "/10/" + kIdHex + ".block"), HandMadeFile());
}

TEST(BlockFormat, AStoreReadsTheGoldenBytes) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() + "/10");
  std::ofstream(folder.path() + "/10/" + kIdHex + ".block", std::ios::binary) << HandMadeFile();
  const auto store = *CreateBlockStore(ConfigOf(folder.path()), kTiny);
  const BlockKey key{CountingId(0x10), kTokens};
  EXPECT_TRUE(store->Lookup({&key, 1}).at(0));
  const AlignedBuffer buffer = MakeAligned(3 * 4096);
  EXPECT_TRUE(Finish(*store, store->Load({{key.id, 0, buffer.get()},
                                          {key.id, 1, buffer.get() + 4096},
                                          {key.id, kRepresentations, buffer.get() + 8192}}))
                  .failures.empty());
  EXPECT_EQ(buffer[0], std::byte{'a'});
  EXPECT_EQ(buffer[8191], std::byte{'b'});
  EXPECT_EQ(buffer[8192 + 15], std::byte{0x2f});
}

std::string RefusalOf(std::string bytes, const BlockLayout& layout = kTiny) {
  const auto head = DecodeHead(std::as_bytes(std::span(bytes)), layout, CountingId(0x10));
  return head.ok() ? "accepted" : head.error().message;
}

TEST(BlockFormat, RefusesWhatItIsNot) {
  const std::string good = HandMadeFile();
  EXPECT_EQ(RefusalOf(good), "accepted");
  EXPECT_THAT(RefusalOf(""), HasSubstr("header bytes is 0"));
  EXPECT_THAT(RefusalOf(good.substr(0, 100)), HasSubstr("header bytes is 100, expected 136"));
  std::string bad = good;
  bad[0] = 'X';
  EXPECT_THAT(RefusalOf(bad), HasSubstr("magic"));
  bad = good;
  bad[kVersionAt] = 2;
  EXPECT_THAT(RefusalOf(bad), HasSubstr("format version is 2, expected 1"));
  BlockLayout other = kTiny;
  other.num_slices = 3;
  EXPECT_THAT(RefusalOf(good, other), HasSubstr("num_slices is 2, expected 3"));
  bad = good;
  bad[kTokensAt] ^= 1;
  EXPECT_THAT(RefusalOf(bad), HasSubstr("checksum of the header"));
  const auto renamed = DecodeHead(std::as_bytes(std::span(good)), kTiny, CountingId(0x11));
  EXPECT_THAT(renamed.error().message, HasSubstr("holds block " + kIdHex));
}

}  // namespace
}  // namespace esa::testing
