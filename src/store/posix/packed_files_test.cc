// Small files that share big ones, seen as files: what FileSystem promises, for files of both kinds
// and those that change from one to the other.
#include "store/posix/packed_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "base/random.h"
#include "store/posix/file_names.h"
#include "store/testing/forwarding_files.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr std::uint64_t kPackBelow = 65536;

BlockId IdOf(std::uint8_t number) {
  BlockId id;
  id.bytes.fill(number);
  return id;
}

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteWhole(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

ErrorCode CodeOf(const auto& result) {
  return result.ok() ? ErrorCode::kCancelled : result.error().code;
}

class NetworkFiles final : public ForwardingFiles {
 public:
  bool OnNetwork(const std::string&) override { return true; }
};

class PackedFilesTest : public ::testing::Test {
 protected:
  PackedFilesTest() { fs::create_directories(FanOutPath(folder(), IdOf(1))); }

  static std::unique_ptr<FileSystem> Packing(std::uint64_t pack_below_bytes = kPackBelow) {
    return MakePackedFiles(MakeRealFileSystem(), {.pack_below_bytes = pack_below_bytes});
  }

  // Creates and fills it. `told` 0: its length is not said beforehand.
  static Status Make(FileSystem& files, const std::string& path, const std::string& bytes,
                     std::uint64_t told) {
    auto file = files.Open(path, {.mode = OpenMode::kCreate, .bytes = told});
    if (!file) return file.error();
    if (Status sized = (*file)->Allocate(bytes.size()); !sized) return sized;
    return WriteFully(**file, path, 0, std::as_bytes(std::span(bytes)));
  }
  static Status MakePacked(FileSystem& files, const std::string& path, const std::string& bytes) {
    const Status made = Make(files, path, bytes, bytes.size());
    EXPECT_FALSE(fs::exists(path));
    return made;
  }
  static Status MakePlain(FileSystem& files, const std::string& path, const std::string& bytes) {
    const Status made = Make(files, path, bytes, 0);
    EXPECT_TRUE(fs::exists(path));
    return made;
  }

  // "", and an error in the test's log, if it cannot be read.
  static std::string Content(FileSystem& files, const std::string& path) {
    const auto file = files.Open(path, {});
    EXPECT_TRUE(file.ok()) << (file.ok() ? "" : file.error().message);
    if (!file.ok()) return "";
    std::string bytes(*(*file)->Size(), '\0');
    const Status read = ReadFully(**file, path, 0, std::as_writable_bytes(std::span(bytes)));
    EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
    EXPECT_EQ(files.Stat(path)->bytes, bytes.size());
    return bytes;
  }

  // The names in a fan-out folder, of which both listings say the same.
  std::vector<std::string> Names(FileSystem& files, std::uint8_t number = 1) const {
    const std::string fan = FanOutPath(folder(), IdOf(number));
    const auto names = files.List(fan);
    const auto listed = files.ListFiles(fan);
    EXPECT_TRUE(names.ok() && listed.ok());
    if (!names.ok() || !listed.ok()) return {};
    std::vector<std::string> of_files;
    for (const ListedFile& file : *listed) of_files.push_back(file.name);
    EXPECT_THAT(of_files, ::testing::UnorderedElementsAreArray(*names));
    return *names;
  }

  void ExpectGone(FileSystem& files, const std::string& path) const {
    EXPECT_EQ(CodeOf(files.Stat(path)), ErrorCode::kNotFound);
    EXPECT_EQ(CodeOf(files.Open(path, {})), ErrorCode::kNotFound);
    EXPECT_EQ(CodeOf(files.Remove(path)), ErrorCode::kNotFound);
    EXPECT_EQ(CodeOf(files.SetModified(path, 1)), ErrorCode::kNotFound);
    EXPECT_THAT(Names(files), Not(Contains(fs::path(path).filename().string())));
  }

  std::string PathOf(std::uint8_t number) const { return BlockPath(folder(), IdOf(number)); }
  std::string Temporary(std::uint8_t number, std::uint64_t count = 1) const {
    return TemporaryPath(folder(), IdOf(number), "1-00000000", count);
  }
  std::string NameOf(std::uint8_t number) const {
    return fs::path(PathOf(number)).filename().string();
  }
  std::string folder() const { return temporary_.path() + "/folder"; }

  TemporaryFolder temporary_;
  const std::unique_ptr<FileSystem> files_ = Packing();
  const std::string a_ = std::string(5000, 'a');
  const std::string b_ = std::string(5000, 'b');
};

TEST_F(PackedFilesTest, ASmallFileIsAFileLikeAnyOther) {
  ASSERT_TRUE(MakePacked(*files_, Temporary(1), a_).ok());
  EXPECT_EQ(Content(*files_, Temporary(1)), a_);
  EXPECT_TRUE(files_->SetModified(Temporary(1), 4711).ok());
  ASSERT_TRUE(files_->Rename(Temporary(1), PathOf(1)).ok());
  ExpectGone(*files_, Temporary(1));
  EXPECT_FALSE(fs::exists(PathOf(1)));
  EXPECT_EQ(Content(*files_, PathOf(1)), a_);
  const auto info = files_->Stat(PathOf(1));
  EXPECT_EQ(info->mode, 0600u);
  EXPECT_FALSE(info->folder);
  EXPECT_EQ(info->modified_us, 4711);
  EXPECT_THAT(Names(*files_), ElementsAre(NameOf(1)));
  EXPECT_THAT(*files_->List(folder()), Contains("01"));
  EXPECT_TRUE(files_->SetModified(PathOf(1), 4712).ok());
  EXPECT_EQ(files_->ListFiles(FanOutPath(folder(), IdOf(1)))->at(0).modified_us, 4712);
  EXPECT_TRUE(files_->SyncFolder(FanOutPath(folder(), IdOf(1))).ok());
  EXPECT_EQ(Content(*Packing(), PathOf(1)), a_);
  EXPECT_TRUE(files_->Remove(PathOf(1)).ok());
  ExpectGone(*files_, PathOf(1));
}

TEST_F(PackedFilesTest, NeedsNoFanOutFolder) {
  ASSERT_TRUE(MakePacked(*files_, PathOf(2), a_).ok());
  EXPECT_THAT(*files_->List(folder()), Contains("02"));
  EXPECT_THAT(Names(*Packing(), 2), ElementsAre(NameOf(2)));
  EXPECT_TRUE(files_->SyncFolder(FanOutPath(folder(), IdOf(2))).ok());
}

TEST_F(PackedFilesTest, AllOthersStandForThemselves) {
  const std::string fan = FanOutPath(folder(), IdOf(1));
  const std::string big(kPackBelow, 'c');
  EXPECT_TRUE(Make(*files_, PathOf(1), big, big.size()).ok());
  EXPECT_TRUE(Make(*files_, Temporary(1), a_, 0).ok());
  EXPECT_TRUE(Make(*files_, fan + "/other", a_, a_.size()).ok());
  EXPECT_TRUE(Make(*files_, folder() + "/" + NameOf(1), a_, a_.size()).ok());
  EXPECT_TRUE(Make(*files_, fan + "/" + NameOf(2), a_, a_.size()).ok());
  for (const std::string& path : {PathOf(1), Temporary(1), fan + "/other",
                                  folder() + "/" + NameOf(1), fan + "/" + NameOf(2)}) {
    EXPECT_TRUE(fs::exists(path)) << path;
    EXPECT_EQ(Content(*files_, path), ReadWhole(path));
  }
  EXPECT_FALSE(fs::exists(folder() + "/extents"));
  EXPECT_EQ(CodeOf(Make(*files_, PathOf(1), big, big.size())), ErrorCode::kIoError);
  EXPECT_TRUE(files_->Remove(PathOf(1)).ok());
  ExpectGone(*files_, PathOf(1));
}

TEST_F(PackedFilesTest, BothKindsAreListedTogether) {
  ASSERT_TRUE(MakePacked(*files_, Temporary(1, 1), a_).ok());
  ASSERT_TRUE(MakePlain(*files_, Temporary(1, 2), b_).ok());
  EXPECT_THAT(Names(*files_), UnorderedElementsAre(fs::path(Temporary(1, 1)).filename().string(),
                                                   fs::path(Temporary(1, 2)).filename().string()));
}

TEST_F(PackedFilesTest, ASmallFileIsNotCreatedTwice) {
  ASSERT_TRUE(MakePacked(*files_, PathOf(1), a_).ok());
  EXPECT_EQ(CodeOf(MakePacked(*files_, PathOf(1), b_)), ErrorCode::kIoError);
  EXPECT_EQ(Content(*files_, PathOf(1)), a_);
}

TEST_F(PackedFilesTest, ARenameReplacesWhatStandsElsewhere) {
  ASSERT_TRUE(MakePlain(*files_, PathOf(1), a_).ok());
  ASSERT_TRUE(MakePacked(*files_, Temporary(1), b_).ok());
  ASSERT_TRUE(files_->Rename(Temporary(1), PathOf(1)).ok());
  EXPECT_FALSE(fs::exists(PathOf(1)));
  EXPECT_EQ(Content(*files_, PathOf(1)), b_);
  EXPECT_THAT(Names(*files_), ElementsAre(NameOf(1)));

  ASSERT_TRUE(MakePlain(*files_, Temporary(1), a_).ok());
  ASSERT_TRUE(files_->Rename(Temporary(1), PathOf(1)).ok());
  EXPECT_EQ(ReadWhole(PathOf(1)), a_);
  EXPECT_EQ(Content(*files_, PathOf(1)), a_);
  EXPECT_EQ(Content(*Packing(), PathOf(1)), a_);
  EXPECT_THAT(Names(*files_), ElementsAre(NameOf(1)));
  EXPECT_TRUE(files_->Remove(PathOf(1)).ok());
  ExpectGone(*files_, PathOf(1));
}

TEST_F(PackedFilesTest, ARenameReplacesWhatStandsInACell) {
  ASSERT_TRUE(MakePacked(*files_, PathOf(1), a_).ok());
  ASSERT_TRUE(MakePacked(*files_, Temporary(1), b_).ok());
  ASSERT_TRUE(files_->Rename(Temporary(1), PathOf(1)).ok());
  EXPECT_EQ(Content(*files_, PathOf(1)), b_);
  EXPECT_EQ(CodeOf(files_->Rename(Temporary(1), PathOf(1))), ErrorCode::kNotFound);
  EXPECT_EQ(Content(*files_, PathOf(1)), b_);
  EXPECT_THAT(Names(*files_), ElementsAre(NameOf(1)));
}

// Whoever replaced one by the other was killed in between.
TEST_F(PackedFilesTest, OfTwoWithOneNameOneIsSeenAndBothAreRemoved) {
  ASSERT_TRUE(MakePacked(*files_, PathOf(1), a_).ok());
  WriteWhole(PathOf(1), a_);
  EXPECT_EQ(Content(*files_, PathOf(1)), a_);
  EXPECT_THAT(Names(*files_), ElementsAre(NameOf(1)));
  EXPECT_TRUE(files_->Remove(PathOf(1)).ok());
  ExpectGone(*files_, PathOf(1));
}

TEST_F(PackedFilesTest, AFileMovesOutToANameThatIsNotPacked) {
  std::string bytes(50001, '\0');
  SplitMix64 random(1);
  for (char& byte : bytes) byte = static_cast<char>(random.Next());
  ASSERT_TRUE(MakePacked(*files_, PathOf(1), bytes).ok());
  fs::create_directory(folder() + "/quarantine");
  const std::string to = QuarantinePath(folder(), IdOf(1));
  WriteWhole(to, "of an earlier one");
  ASSERT_TRUE(files_->Rename(PathOf(1), to).ok());
  EXPECT_EQ(ReadWhole(to), bytes);
  EXPECT_EQ(fs::status(to).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  ExpectGone(*files_, PathOf(1));
  EXPECT_EQ(CodeOf(files_->Rename(PathOf(1), to)), ErrorCode::kNotFound);
  EXPECT_EQ(ReadWhole(to), bytes);
}

TEST_F(PackedFilesTest, AnOpenFileFailsOnceAnotherHasItsCell) {
  ASSERT_TRUE(MakePacked(*files_, PathOf(1), a_).ok());
  const auto file = *files_->Open(PathOf(1), {});
  std::string bytes(4096, '\0');
  const std::span<std::byte> to = std::as_writable_bytes(std::span(bytes));
  const iovec piece{bytes.data(), bytes.size()};
  ASSERT_TRUE(files_->Remove(PathOf(1)).ok());
  EXPECT_EQ(*file->Read(0, to), 4096u);  // as of a file that is open and has no name
  EXPECT_EQ(bytes, a_.substr(0, 4096));
  ASSERT_TRUE(MakePacked(*Packing(), PathOf(2), b_).ok());
  EXPECT_EQ(CodeOf(file->Read(0, to)), ErrorCode::kNotFound);
  ASSERT_TRUE(file->ReadPieces(0, {&piece, 1}).ok());
  EXPECT_EQ(bytes, b_.substr(0, 4096));  // the very cell
  EXPECT_EQ(CodeOf(file->StillThere()), ErrorCode::kNotFound);
}

TEST_F(PackedFilesTest, NothingIsReadOrWrittenBeyondTheEnd) {
  ASSERT_TRUE(MakePacked(*files_, PathOf(1), a_).ok());
  ASSERT_TRUE(MakePacked(*files_, PathOf(2), b_).ok());
  for (const std::uint8_t number : {1, 2}) {
    const auto file = *files_->Open(PathOf(number), {.mode = OpenMode::kWrite});
    std::string bytes(8192, 'x');
    const std::span<std::byte> span = std::as_writable_bytes(std::span(bytes));
    const iovec piece{bytes.data(), bytes.size()};
    const iovec one_byte{bytes.data(), 1};
    EXPECT_EQ(CodeOf(file->Write(0, span)), ErrorCode::kIoError);
    EXPECT_EQ(CodeOf(file->Write(4999, span.first(2))), ErrorCode::kIoError);
    EXPECT_EQ(CodeOf(file->Write(~std::uint64_t{0}, span.first(2))), ErrorCode::kIoError);
    EXPECT_EQ(CodeOf(file->WritePieces(0, {&piece, 1})), ErrorCode::kIoError);
    EXPECT_EQ(CodeOf(file->WritePieces(5000, {&one_byte, 1})), ErrorCode::kIoError);
    EXPECT_EQ(file->TargetFor(0, {&piece, 1}, true), std::nullopt);
    EXPECT_EQ(file->TargetFor(0, {&piece, 1}, false), std::nullopt);
    EXPECT_FALSE(file->Allocate(5001).ok());
    EXPECT_TRUE(file->Allocate(5000).ok());
    EXPECT_EQ(*file->Read(5000, span), 0u);
    EXPECT_EQ(*file->Read(~std::uint64_t{0}, span), 0u);
    EXPECT_EQ(*file->Read(4990, span), 10u);
    EXPECT_EQ(*file->ReadPieces(0, {&piece, 1}), 5000u);
    EXPECT_TRUE(file->Write(4999, std::as_bytes(std::span(a_)).first(1)).ok());
  }
  EXPECT_EQ(Content(*files_, PathOf(1)), a_);
  EXPECT_EQ(Content(*files_, PathOf(2)), b_.substr(1) + "a");
}

TEST_F(PackedFilesTest, WhatIsPackedIsReadByThoseThatDoNotPack) {
  ASSERT_TRUE(MakePacked(*files_, PathOf(1), a_).ok());
  const auto plain = Packing(0);
  EXPECT_EQ(Content(*plain, PathOf(1)), a_);
  ASSERT_TRUE(MakePlain(*plain, Temporary(1), b_).ok());
  ASSERT_TRUE(plain->Rename(Temporary(1), PathOf(1)).ok());
  EXPECT_EQ(Content(*files_, PathOf(1)), b_);
  EXPECT_THAT(Names(*files_), ElementsAre(NameOf(1)));
}

TEST_F(PackedFilesTest, NothingIsPackedOverANetwork) {
  const auto remote =
      MakePackedFiles(std::make_unique<NetworkFiles>(), {.pack_below_bytes = kPackBelow});
  ASSERT_TRUE(Make(*remote, PathOf(1), a_, a_.size()).ok());
  EXPECT_EQ(ReadWhole(PathOf(1)), a_);
  EXPECT_FALSE(fs::exists(folder() + "/extents"));
  ASSERT_TRUE(MakePacked(*files_, PathOf(2), b_).ok());
  const auto later =
      MakePackedFiles(std::make_unique<NetworkFiles>(), {.pack_below_bytes = kPackBelow});
  EXPECT_EQ(Content(*later, PathOf(2)), b_);
}

// The store's folder has a name like a folder in it.
TEST_F(PackedFilesTest, AFolderMayHaveAnyName) {
  const std::string folder = temporary_.path() + "/ab";
  const std::string path = BlockPath(folder, IdOf(7));
  fs::create_directory(folder);
  ASSERT_TRUE(MakePacked(*files_, path, a_).ok());
  EXPECT_EQ(Content(*files_, path), a_);
  EXPECT_THAT(*files_->List(folder), Contains("07"));
  EXPECT_THAT(*files_->List(FanOutPath(folder, IdOf(7))), ElementsAre(NameOf(7)));
}

class PackingStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<BlockStore> Open(std::uint64_t pack_below_bytes = StoreConfig().pack_below_bytes,
                                   const std::string& name = "folder") {
    StoreConfig config;
    config.storage_backends = {temporary_.path() + "/" + name};
    config.pack_below_bytes = pack_below_bytes;
    auto store = CreateBlockStore(config, kSmallLayout);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return *std::move(store);
  }
  std::string extents() const { return temporary_.path() + "/folder/extents"; }

  TemporaryFolder temporary_;
  const std::vector<SampleBlock> blocks_ = SampleChain(1, 4);
};

TEST_F(PackingStoreTest, StoresThatPackAndThoseThatDoNotReadEachOther) {
  for (const bool packs : {true, false}) {
    const std::string name = packs ? "packed" : "plain";
    const std::uint64_t first = packs ? kPackBelow : 0, second = packs ? 0 : kPackBelow;
    for (const SampleBlock& block : blocks_) {
      EXPECT_THAT(DumpAll(*Open(first, name), block).failures, IsEmpty());
    }
    EXPECT_EQ(fs::exists(temporary_.path() + "/" + name + "/extents"), packs);
    const auto store = Open(second, name);
    EXPECT_EQ(store->Stats().blocks, blocks_.size());
    for (const SampleBlock& block : blocks_) {
      EXPECT_TRUE(Hit(*store, block));
      EXPECT_TRUE(LoadAllAndTokens(*store, block).ok());
    }
    EXPECT_TRUE(store->Remove(blocks_[0].id()).ok());
    EXPECT_THAT(DumpAll(*store, blocks_[0]).failures, IsEmpty());
    EXPECT_TRUE(LoadAllAndTokens(*Open(first, name), blocks_[0]).ok());
  }
}

TEST_F(PackingStoreTest, AFolderMayHaveAnyName) {
  EXPECT_THAT(DumpAll(*Open(kPackBelow, "ab"), blocks_[0]).failures, IsEmpty());
  const auto store = Open(kPackBelow, "ab");
  EXPECT_EQ(store->Stats().blocks, 1u);
  EXPECT_TRUE(LoadAllAndTokens(*store, blocks_[0]).ok());
}

// The files of a folder as they were, without the long runs of zeros in them.
class Snapshot {
 public:
  struct Piece {
    std::uint64_t at;
    std::string bytes;
  };
  struct Content {
    std::uint64_t bytes;
    std::vector<Piece> pieces;  // those of 128 bytes that are not all zero
  };

  explicit Snapshot(const std::string& folder) : folder_(folder) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string bytes = ReadWhole(entry.path());
      Content& content = files_[entry.path()];
      content.bytes = bytes.size();
      for (std::size_t at = 0; at < bytes.size(); at += kPieceBytes) {
        std::string piece = bytes.substr(at, kPieceBytes);
        if (piece.find_first_not_of('\0') != std::string::npos) {
          content.pieces.push_back({at, std::move(piece)});
        }
      }
    }
  }

  const std::map<std::string, Content>& files() const { return files_; }

  void Restore() const {
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (!files_.contains(entry.path())) fs::remove(entry.path());
    }
    for (const auto& [path, content] : files_) {
      std::ofstream file(path, std::ios::binary);
      for (const Piece& piece : content.pieces) {
        file.seekp(static_cast<std::streamoff>(piece.at));
        file << piece.bytes;
      }
      file.close();
      fs::resize_file(path, content.bytes);
    }
  }

 private:
  static constexpr std::size_t kPieceBytes = 128;

  const std::string folder_;
  std::map<std::string, Content> files_;
};

// Every second flip is where something stands.
std::uint64_t FlipABit(const std::string& path, const Snapshot::Content& content,
                       SplitMix64& random) {
  const Snapshot::Piece& piece = content.pieces[random.Below(content.pieces.size())];
  const std::uint64_t at = random.Below(2) == 0 ? random.Below(content.bytes)
                                                : piece.at + random.Below(piece.bytes.size());
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(at));
  const int byte = file.peek();
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(byte ^ (1 << random.Below(8))));
  EXPECT_TRUE(file.good());
  return at;
}

TEST_F(PackingStoreTest, AThousandFlipsServeNothingWrong) {
  for (const SampleBlock& block : blocks_) EXPECT_THAT(DumpAll(*Open(), block).failures, IsEmpty());
  const Snapshot snapshot(extents());
  ASSERT_EQ(snapshot.files().size(), 2u);
  SplitMix64 random(22);
  std::size_t served = 0, missed = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto& [path, content] = *std::next(snapshot.files().begin(), i % 2);
    const std::string what = path + ", byte " + std::to_string(FlipABit(path, content, random));
    {
      const auto store = Open();
      for (const SampleBlock& block : blocks_) {
        const Status loaded = LoadAllAndTokens(*store, block);
        ASSERT_FALSE(ServedWrongBytes(loaded)) << what;
        ++(loaded.ok() ? served : missed);
        if (loaded.ok()) continue;
        EXPECT_FALSE(Hit(*store, block)) << what;
        EXPECT_THAT(DumpAll(*store, block).failures, IsEmpty()) << what;
        EXPECT_TRUE(LoadAllAndTokens(*store, block).ok()) << what;
      }
    }
    if (i % 10 == 0) {
      const auto store = Open();
      for (const SampleBlock& block : blocks_) {
        EXPECT_TRUE(LoadAllAndTokens(*store, block).ok()) << what;
      }
    }
    snapshot.Restore();
  }
  EXPECT_GT(missed, 200u);
  EXPECT_GT(served, 2000u);
}

}  // namespace
}  // namespace esa::testing
