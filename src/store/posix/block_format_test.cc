// The format of block files, against files built by hand from docs/formats/block.md and against
// testdata/*.block, which testdata/make_golden.py wrote from that page with other libraries.
#include "store/posix/block_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "store/checksum.h"
#include "store/testing/hand_made_bytes.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using ::testing::HasSubstr;

using ::testing::IsEmpty;

constexpr BlockLayout kTiny{
    .block_tokens = 3, .num_slices = 2, .slice_bytes = 4096, .representation_bytes = 8};

BlockId CountingId(std::uint8_t first) {
  BlockId id;
  for (std::uint8_t& byte : id.bytes) byte = first++;
  return id;
}

// XXH3-64 of 4096 times 'a', of 4096 times 'b', of the bytes 0x20 to 0x2f, of the fixed fields and
// of the head below; computed with libxxhash 0.8.1 alone, not with our code.
constexpr std::uint64_t kSumA = 0x88a30670e919701eull;
constexpr std::uint64_t kSumB = 0x0df704f8066c4e09ull;
constexpr std::uint64_t kSumRepresentations = 0xbebc4a4705ffa0ecull;
constexpr std::uint64_t kSumFields = 0x197f2b23452520bcull;
constexpr std::uint64_t kSumHead = 0x9b8abb8fca4f1d57ull;

Bytes HandMadeIdentity(bool encrypted) {
  return Bytes()
      .Text("ESABLOCK")
      .Int(std::uint32_t{2})  // version
      .Int(std::uint32_t{3})  // block_tokens
      .Int(std::uint32_t{2})  // num_slices
      .Int(std::uint32_t{8})  // representation_bytes
      .Int(std::uint64_t{4096})
      .Counting(0x10, 16)  // id
      .Counting(0x40, 16)  // parent
      .Int(std::uint64_t{16384})
      .Int(std::uint64_t{encrypted});
}

std::string HandMadeFile() {
  return HandMadeIdentity(false)
      .PadTo(128)  // no salt, no tags
      .Int(kSumRepresentations)
      .Int(kSumFields)
      .Int(std::int32_t{7})
      .Int(std::int32_t{-1})
      .Int(std::int32_t{100000})
      .PadTo(160)
      .Int(kSumA)
      .Int(kSumB)
      .Int(kSumHead)
      .PadTo(4096)
      .Counting(0x20, 16)
      .PadTo(8192)
      .Fill('a', 4096)
      .Fill('b', 4096)
      .get();
}

// As make_golden.py encrypted them; the slices, too long to be listed, are in its file alone.
std::string HandMadeEncryptedFront() {
  return HandMadeIdentity(true)
      .Counting(0x60, 16)                       // salt
      .Hex("25815237dd9936dfd1a7ec35df0a69c6")  // tag of the tokens
      .Hex("5bc17f0cf7d6ca4aff07f206b0048e2f")  // tag of the representations
      .Hex("c5dccb899fdd5f9b")                  // checksum of the representations
      .Hex("a542446984f46d19")                  // checksum of the fixed fields
      .Hex("92635e5f7d8e85add98d1ff8")          // tokens
      .PadTo(160)
      .Hex("c8e1bd6836047abe")  // checksums of the slices
      .Hex("21aadeb4509f5d2a")
      .Hex("8f21081d353ef1b141c0205aaae96832")  // tags of the slices
      .Hex("d1f98c04f6d0570e37f908144a539712")
      .Hex("99f15f887374e068")  // checksum of the head
      .PadTo(4096)
      .Hex("cd86329c48eabb55858f9093d95a90eb")  // representations
      .PadTo(8192)
      .get();
}

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string Golden(const std::string& name) {
  return ReadWhole(std::string(ESA_SOURCE_DIR) + "/src/store/testdata/" + name);
}

std::span<const std::byte> BytesOf(const std::string& text) {
  return std::as_bytes(std::span(text));
}

const std::vector<std::int32_t> kTokenIds = {7, -1, 100000};
const std::string kIdHex = "101112131415161718191a1b1c1d1e1f";
const BlockId kId = CountingId(0x10);

BlockCipher CipherOf(std::uint8_t first) {
  const std::string key = Bytes().Counting(first, SecretKey::kBytes).get();
  return BlockCipher(SecretKey(BytesOf(key).first<SecretKey::kBytes>()));
}

StoreConfig ConfigOf(const std::string& folder) {
  StoreConfig config;
  config.storage_backends = {folder};
  config.pack_below_bytes = 0;
  return config;
}

void DumpGolden(BlockStore& store) {
  ASSERT_TRUE(*store.Begin({kId, kTokenIds}, CountingId(0x40)));
  const std::string data = std::string(4096, 'a') + std::string(4096, 'b');
  const std::string means = Bytes().Counting(0x20, 16).get();
  const auto* slices = BytesOf(data).data();
  const auto* representations = BytesOf(means).data();
  EXPECT_THAT(Finish(store, store.Dump({{kId, 1, slices + 4096, representations + 8},
                                        {kId, 0, slices, representations}}))
                  .failures,
              IsEmpty());
}

TEST(BlockFormat, TheGoldenFilesAreAsThePageSays) {
  EXPECT_EQ(Golden("plain.block"), HandMadeFile());
  const std::string encrypted = Golden("encrypted.block");
  EXPECT_EQ(encrypted.size(), 16384u);
  EXPECT_EQ(encrypted.substr(0, 8192), HandMadeEncryptedFront());
}

TEST(BlockFormat, AStoreWritesTheGoldenBytes) {
  const TemporaryFolder folder;
  {
    const auto store = *CreateBlockStore(ConfigOf(folder.path()), kTiny);
    DumpGolden(*store);
  }
  EXPECT_EQ(ReadWhole(folder.path() + "/10/" + kIdHex + ".block"), HandMadeFile());
}

TEST(BlockFormat, AStoreReadsTheGoldenBytes) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() + "/10");
  std::ofstream(folder.path() + "/10/" + kIdHex + ".block", std::ios::binary) << HandMadeFile();
  const auto store = *CreateBlockStore(ConfigOf(folder.path()), kTiny);
  const BlockKey key{kId, kTokenIds};
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

TEST(BlockFormat, AStoreLeavesForeignFilesUntilItsOwnReplaceThem) {
  std::string later = HandMadeFile();
  later[kVersionAt] = 3;
  later.replace(kFieldsSumAt, 8, Bytes().Int(Checksum(BytesOf(later).first(kFieldsSumAt))).get());
  for (const std::string& foreign : {later, Golden("encrypted.block")}) {
    const TemporaryFolder folder;
    const std::string path = folder.path() + "/10/" + kIdHex + ".block";
    std::filesystem::create_directory(folder.path() + "/10");
    std::ofstream(path, std::ios::binary) << foreign;
    const auto store = *CreateBlockStore(ConfigOf(folder.path()), kTiny);
    const BlockKey key{kId, kTokenIds};
    EXPECT_FALSE(store->Lookup({&key, 1}).at(0));
    EXPECT_EQ(store->Stats().quarantined_blocks, 0u);
    EXPECT_EQ(ReadWhole(path), foreign);
    EXPECT_EQ(store->Stats().blocks, 1u);  // it takes room, and is evicted in its turn
    DumpGolden(*store);
    EXPECT_TRUE(store->Lookup({&key, 1}).at(0));
    EXPECT_EQ(ReadWhole(path), HandMadeFile());
    EXPECT_EQ(store->Stats().bytes, 16384u);
  }
}

// Part `part` of the golden content, as it is before encryption.
std::string PlainPart(std::uint32_t part) {
  if (part == kRepresentations) return Bytes().Counting(0x20, 16).get();
  return std::string(4096, part == 0 ? 'a' : 'b');
}

std::size_t OffsetOf(std::uint32_t part) {
  return part == kRepresentations ? 4096 : 8192 + part * 4096;
}

constexpr std::uint32_t kParts[] = {0, 1, kRepresentations};

TEST(BlockFormat, EncryptionWritesTheGoldenBytes) {
  const BlockCipher cipher = CipherOf(0x80);
  auto head = *NewHead(kTiny, {kId, kTokenIds}, CountingId(0x40), &cipher);
  for (std::size_t i = 0; i < head.salt.size(); ++i) head.salt[i] = CountingId(0x60).bytes[i];
  head.file_key = cipher.FileKey(head.salt, kId);
  std::string file(16384, '\0');
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(file));
  for (const std::uint32_t part : kParts) {
    const std::string plain = PlainPart(part);
    const auto seal =
        SealPart(head, part, BytesOf(plain), bytes.subspan(OffsetOf(part), plain.size()));
    ASSERT_TRUE(seal.ok());
    head.SetSeal(part, *seal);
  }
  ASSERT_TRUE(EncodeHead(head, bytes).ok());
  EXPECT_EQ(file, Golden("encrypted.block"));
}

// "" when all parts of the file are opened as they should be, else what went wrong.
std::string OpenAll(const std::string& file, const BlockCipher& cipher) {
  const auto head = DecodeHead(BytesOf(file), kTiny, kId, &cipher);
  if (!head) return head.error().message;
  if (head->tokens != kTokenIds) return "wrong tokens";
  for (const std::uint32_t part : kParts) {
    std::string bytes = file.substr(OffsetOf(part), PlainPart(part).size());
    const std::span<std::byte> in_place = std::as_writable_bytes(std::span(bytes));
    if (Status status = VerifyPart(*head, part, in_place); !status) return status.error().message;
    if (Status status = OpenPart(*head, part, in_place, in_place); !status) {
      return bytes == std::string(bytes.size(), '\0') ? status.error().message : "left bytes";
    }
    if (bytes != PlainPart(part)) return "wrong bytes";
  }
  return "";
}

TEST(BlockFormat, EncryptionReadsTheGoldenBytes) {
  EXPECT_EQ(OpenAll(Golden("encrypted.block"), CipherOf(0x80)), "");
}

TEST(BlockFormat, EveryFileHasASaltAndAKeyOfItsOwn) {
  const BlockCipher cipher = CipherOf(0x80);
  const auto one = NewHead(kTiny, {kId, kTokenIds}, {}, &cipher);
  const auto other = NewHead(kTiny, {kId, kTokenIds}, {}, &cipher);
  EXPECT_NE(one->salt, other->salt);
  EXPECT_FALSE(std::ranges::equal(one->file_key->bytes(), other->file_key->bytes()));
  EXPECT_FALSE(std::ranges::equal(one->file_key->bytes(),
                                  cipher.FileKey(one->salt, CountingId(0x11)).bytes()));
}

// The file with its checksums made right again after a change: by one who has no key.
std::string Resealed(std::string file) {
  const bool encrypted = file[kFlagsAt] != 0;
  const BlockAreas areas(kTiny, encrypted);
  const auto put = [&](std::size_t at, std::size_t from, std::size_t bytes) {
    const std::uint64_t sum = Checksum(BytesOf(file).subspan(from, bytes));
    file.replace(at, 8, Bytes().Int(sum).get());
  };
  put(kRepresentationsSumAt, 4096, 16);
  put(kFieldsSumAt, 0, kFieldsSumAt);
  put(areas.sums, 8192, 4096);
  put(areas.sums + 8, 12288, 4096);
  put(areas.head_sum, 0, areas.head_sum);
  return file;
}

TEST(BlockFormat, NothingOfAnEncryptedFileCanBeAlteredWithoutTheKey) {
  const std::string good = Golden("encrypted.block");
  const BlockCipher cipher = CipherOf(0x80);
  EXPECT_EQ(Resealed(good), good);
  const BlockAreas areas(kTiny, true);
  for (std::size_t at = 0; at < good.size(); at += at < areas.head_sum + 8 ? 1 : 61) {
    const bool padding = (at >= 156 && at < 160) || (at >= areas.head_bytes() && at < 4096) ||
                         (at >= 4112 && at < 8192);
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    const bool sum = (at >= 128 && at < 144) || (at >= areas.sums && at < areas.tags) ||
                     (at >= areas.head_sum && at < areas.head_bytes());
    // Sums are made right again, and then the file is the good one.
    EXPECT_EQ(OpenAll(Resealed(bad), cipher) == "", padding || sum) << at;
    EXPECT_EQ(OpenAll(bad, cipher) == "", padding && at >= 160) << at;
  }
  std::string swapped = good;
  swapped.replace(8192, 8192, good.substr(12288, 4096) + good.substr(8192, 4096));
  swapped.replace(areas.tags, 32, good.substr(areas.tags + 16, 16) + good.substr(areas.tags, 16));
  EXPECT_EQ(OpenAll(Resealed(swapped), cipher), "tag of slice 0 does not match");
}

ErrorCode CodeOf(const std::string& file, const BlockCipher* cipher) {
  const auto head = DecodeHead(BytesOf(file), kTiny, kId, cipher);
  return head.ok() ? ErrorCode::kCancelled : head.error().code;
}

TEST(BlockFormat, TellsAForeignKeyFromDamage) {
  const std::string plain = Golden("plain.block"), encrypted = Golden("encrypted.block");
  const BlockCipher right = CipherOf(0x80), wrong = CipherOf(0x81);
  EXPECT_EQ(OpenAll(encrypted, wrong), "is encrypted under another key");
  EXPECT_EQ(OpenAll(plain, right), "is not encrypted, and a key is configured");
  EXPECT_THAT(DecodeHead(BytesOf(encrypted), kTiny, kId, nullptr).error().message,
              HasSubstr("no key is configured"));
  EXPECT_EQ(CodeOf(encrypted, &wrong), ErrorCode::kUnsupported);
  EXPECT_EQ(CodeOf(encrypted, nullptr), ErrorCode::kUnsupported);
  EXPECT_EQ(CodeOf(plain, &right), ErrorCode::kUnsupported);
  EXPECT_EQ(CodeOf(encrypted.substr(0, 200), &wrong), ErrorCode::kDataError);
  std::string torn = encrypted;
  torn.replace(150, 1, 1, '\0');
  EXPECT_EQ(CodeOf(torn, &wrong), ErrorCode::kDataError);
}

TEST(BlockFormat, VerifiesWithoutTheKey) {
  for (const char* name : {"plain.block", "encrypted.block"}) {
    std::string file = Golden(name);
    const auto head = VerifyHead(BytesOf(file), kId);
    ASSERT_TRUE(head.ok()) << head.error().message;
    EXPECT_THAT(head->tokens, IsEmpty());
    for (const std::uint32_t part : kParts) {
      const std::size_t bytes = PlainPart(part).size();
      EXPECT_TRUE(VerifyPart(*head, part, BytesOf(file).subspan(OffsetOf(part), bytes)).ok());
      file[OffsetOf(part) + bytes - 1] ^= 1;
      EXPECT_FALSE(VerifyPart(*head, part, BytesOf(file).subspan(OffsetOf(part), bytes)).ok());
    }
    file[150] ^= 1;
    EXPECT_THAT(VerifyHead(BytesOf(file), kId).error().message, HasSubstr("of the header"));
  }
}

TEST(BlockFormat, AnEncryptedHeadMayTakeAnotherPage) {
  const BlockLayout layout{
      .block_tokens = 128, .num_slices = 256, .slice_bytes = 65536, .representation_bytes = 512};
  EXPECT_EQ(BlockAreas(layout).head_bytes(), 2712u);
  EXPECT_EQ(BlockAreas(layout, true).head_bytes(), 6808u);
  EXPECT_EQ(BlockAreas(layout, true).file_bytes, BlockAreas(layout).file_bytes + 4096);
}

std::string RefusalOf(const std::string& bytes, const BlockLayout& layout = kTiny) {
  const auto head = DecodeHead(BytesOf(bytes), layout, kId, nullptr);
  if (head.ok()) return "accepted";
  return (head.error().code == ErrorCode::kUnsupported ? "foreign: " : "") + head.error().message;
}

TEST(BlockFormat, RefusesWhatItIsNot) {
  const std::string good = HandMadeFile();
  EXPECT_EQ(RefusalOf(good), "accepted");
  EXPECT_EQ(RefusalOf(""), "header bytes is 0, expected 144");
  EXPECT_EQ(RefusalOf(good.substr(0, 150)), "header bytes is 150, expected 184");
  std::string bad = good;
  bad[0] = 'X';
  EXPECT_THAT(RefusalOf(bad), HasSubstr("magic"));
  bad = good;
  bad[kTokensAt] ^= 1;
  EXPECT_EQ(RefusalOf(bad), "checksum of the header does not match");
  bad = good;
  bad[kFileBytesAt] ^= 1;
  EXPECT_EQ(RefusalOf(Resealed(bad)), "file_bytes is 16385, expected 16384");
  bad = good;
  bad[kSliceBytesAt] ^= 1;
  EXPECT_THAT(RefusalOf(Resealed(bad)), HasSubstr("slice_bytes is 4097, expected a multiple"));
  const auto renamed = DecodeHead(BytesOf(good), kTiny, CountingId(0x11), nullptr);
  EXPECT_EQ(renamed.error().code, ErrorCode::kDataError);
  EXPECT_THAT(renamed.error().message, HasSubstr("holds block " + kIdHex));
}

TEST(BlockFormat, ForeignIsOnlyWhatIsSound) {
  const std::string good = HandMadeFile();
  BlockLayout other = kTiny;
  other.num_slices = 3;
  EXPECT_EQ(RefusalOf(good, other), "foreign: num_slices is 2, expected 3");
  std::string bad = good;
  bad[kVersionAt] = 3;
  EXPECT_EQ(RefusalOf(bad), "checksum of the fixed fields does not match");
  EXPECT_EQ(RefusalOf(Resealed(bad)), "foreign: format version is 3, expected 2");
  bad[kVersionAt] = 1;  // which had no such checksum
  EXPECT_EQ(RefusalOf(bad), "foreign: format version is 1, expected 2");
  bad = good;
  bad[kFlagsAt] = 2;
  EXPECT_EQ(RefusalOf(bad), "checksum of the fixed fields does not match");
  EXPECT_EQ(RefusalOf(Resealed(bad)), "foreign: has flags of a later version: 2");
}

}  // namespace
}  // namespace esa::testing
