// The table of extents: its bytes against docs/formats/extents.md, and what several tables on one
// folder promise each other, whatever was torn or is missing.
#include "store/posix/extent_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>

#include "store/testing/faulty_files.h"
#include "store/testing/hand_made_bytes.h"
#include "store/testing/store_fixture.h"
#include "store/testing/table_names.h"

namespace esa::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint64_t kMiB = 1u << 20;

struct Change {
  std::uint64_t number;  // from 1
  std::uint32_t extent;
  std::uint32_t cell;
};

std::string HandMadeHeader(std::uint32_t version, std::uint64_t changes, std::uint64_t next_serial,
                           const std::vector<Change>& latest) {
  Bytes rest;
  rest.Text("ESACELLS").Int(version).Int(std::uint32_t{0}).Int(changes).Int(next_serial);
  for (std::uint64_t i = 0; i < 120; ++i) {
    const auto here = std::ranges::find(latest, i, [](Change c) { return (c.number - 1) % 120; });
    rest.Int(here == latest.end() ? 0u : here->extent);
    rest.Int(here == latest.end() ? 0u : here->cell);
  }
  return rest.PadTo(1016).Sealed();
}

std::string HandMadeExtent(std::uint64_t serial, std::uint64_t cell_bytes, std::uint32_t cells) {
  return Bytes().Int(serial).Int(cell_bytes).Int(cells).PadTo(120).Sealed();
}

// Of the id 10 11 12 ... 1f.
std::string HandMadeCell(std::uint64_t generation, std::int64_t modified_us, std::uint64_t bytes,
                         const std::string& ending) {
  return Bytes()
      .Int(generation)
      .Int(modified_us)
      .Int(bytes)
      .Counting(0x10, 16)
      .Int(std::uint8_t{1})
      .Int(static_cast<std::uint8_t>(ending.size()))
      .PadTo(48)
      .Text(ending)
      .PadTo(120)
      .Sealed();
}

BlockId CountingId() {
  BlockId id;
  std::iota(id.bytes.begin(), id.bytes.end(), std::uint8_t{0x10});
  return id;
}

PackedName Temporary(std::uint64_t number) { return {Block(number).id, ".1-1.1.tmp"}; }

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Patch(const std::string& path, std::uint64_t at, const std::string& bytes) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(at));
  file << bytes;
  ASSERT_TRUE(file.good());
}

void FlipByte(const std::string& path, std::uint64_t at) {
  const char byte = ReadWhole(path).at(at);
  Patch(path, at, std::string(1, static_cast<char>(byte ^ 0x40)));
}

ErrorCode CodeOf(const auto& result) {
  return result.ok() ? ErrorCode::kCancelled : result.error().code;
}

class ExtentTableTest : public ::testing::Test {
 protected:
  std::unique_ptr<ExtentTable> Open(std::uint64_t capacity_bytes = 0) {
    return Open(*files_, capacity_bytes);
  }
  std::unique_ptr<ExtentTable> Open(FileSystem& files, std::uint64_t capacity_bytes = 0) {
    return std::make_unique<ExtentTable>(
        files, ExtentTable::Options{.folder = folder(), .capacity_bytes = capacity_bytes});
  }

  // Number 1 has four cells, of which one is used; number 0 is not there.
  void PutHandMadeTable(std::uint32_t version) {
    fs::create_directory(folder() + "/extents");
    std::ofstream(table()) << Bytes()
                                  .Text(HandMadeHeader(version, 7, 3, {{7, 1, 2}}))
                                  .PadTo(4096 + (1 << 20))
                                  .Text(HandMadeExtent(2, 4096, 4))
                                  .PadTo(4096 + (1 << 20) + 128 * 3)
                                  .Text(HandMadeCell(9, 123456, 4000, ".block"))
                                  .get();
    PutExtent(2, 16384);
  }
  void PutExtent(std::uint64_t serial, std::uint64_t bytes) {
    std::ofstream(ExtentPath(folder(), serial)) << std::string(bytes, 'x');
  }

  // Ten of one page and ten of two, each size in an extent of its own: numbers 0 and 1.
  static std::vector<PackedName> AllocateTwoExtents(ExtentTable& table) {
    std::vector<PackedName> names;
    for (std::uint64_t i = 0; i < 20; ++i) {
      names.push_back(Block(i));
      EXPECT_TRUE(table.Allocate(names.back(), i < 10 ? 4096 : 8192).ok());
    }
    return names;
  }

  // These stand and no others; what is allocated further gets cells of its own and is found by
  // others.
  void ExpectSound(std::vector<PackedName> names) {
    const auto table = Open();
    EXPECT_EQ(Names(*table), Sorted(names));
    for (std::uint64_t i = 100; i < 140; ++i) {
      names.push_back(Block(i));
      const auto cell = table->Allocate(names.back(), i % 2 == 0 ? 4096 : 8192);
      EXPECT_TRUE(cell.ok()) << (cell.ok() ? "" : cell.error().message);
      EXPECT_TRUE(!cell.ok() || fs::exists(ExtentPath(folder(), cell->serial)));
    }
    EXPECT_EQ(Names(*table), Sorted(names));
    EXPECT_EQ(Names(*Open()), Sorted(names));
  }

  std::vector<std::uint64_t> ExtentBytes() const {  // by serial
    std::map<std::string, std::uint64_t> sizes;
    if (!fs::exists(folder() + "/extents")) return {};
    for (const auto& entry : fs::directory_iterator(folder() + "/extents")) {
      if (entry.path().extension() == ".extent") sizes[entry.path()] = entry.file_size();
    }
    std::vector<std::uint64_t> bytes;
    for (const auto& [path, size] : sizes) bytes.push_back(size);
    return bytes;
  }
  std::uint64_t TotalBytes() const {
    const auto bytes = ExtentBytes();
    return std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{0});
  }

  const std::string& folder() const { return temporary_.path(); }
  std::string table() const { return folder() + "/extents/table"; }

  TemporaryFolder temporary_;
  const std::unique_ptr<FileSystem> files_ = MakeRealFileSystem();
};

TEST_F(ExtentTableTest, ReadsATableMadeByHand) {
  PutHandMadeTable(1);
  const auto table = Open();
  EXPECT_TRUE(table->Exists());
  const auto cell = table->Find({CountingId(), ".block"});
  ASSERT_TRUE(cell.ok()) << cell.error().message;
  EXPECT_EQ(cell->extent, 1u);
  EXPECT_EQ(cell->index, 2u);
  EXPECT_EQ(cell->generation, 9u);
  EXPECT_EQ(cell->serial, 2u);
  EXPECT_EQ(cell->offset, 8192u);
  EXPECT_EQ(cell->bytes, 4000u);
  EXPECT_EQ(cell->modified_us, 123456);
  EXPECT_TRUE(table->StillThere(*cell).ok());
  EXPECT_THAT(*table->FirstBytes(), ElementsAre(0x10));
  EXPECT_EQ(CodeOf(table->Find({CountingId(), ".other"})), ErrorCode::kNotFound);

  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(table->Allocate(Block(i), 4096)->serial, 2u);
  const auto next = table->Allocate(Block(3), 4096);
  EXPECT_EQ(next->serial, 3u);
  EXPECT_EQ(next->extent, 0u);
  EXPECT_EQ(Names(*table).size(), 5u);
}

TEST_F(ExtentTableTest, WritesTheBytesOfThePage) {
  const auto table = Open();
  const auto cell = table->Allocate({CountingId(), ".1-a.7.tmp"}, 5000);
  ASSERT_TRUE(cell.ok()) << cell.error().message;
  EXPECT_EQ(cell->serial, 1u);
  EXPECT_EQ(cell->extent, 0u);
  EXPECT_EQ(cell->offset, cell->index * 8192u);
  const std::string bytes = ReadWhole(this->table());
  const std::size_t at = 4096 + 128 + 128 * cell->index;
  ASSERT_GE(bytes.size(), at + 128);
  std::uint64_t changes = 0;
  std::memcpy(&changes, bytes.data() + 24, sizeof(changes));
  EXPECT_EQ(
      bytes.substr(0, 1024),
      HandMadeHeader(1, changes, 2, {{changes - 1, 0, 0xffffffffu}, {changes, 0, cell->index}}));
  EXPECT_EQ(bytes.substr(4096, 128), HandMadeExtent(1, 8192, 512));
  EXPECT_EQ(bytes.substr(at, 128), HandMadeCell(1, cell->modified_us, 5000, ".1-a.7.tmp"));
  EXPECT_EQ(fs::file_size(folder() + "/extents/0000000000000001.extent"), 4 * kMiB);
}

TEST_F(ExtentTableTest, RefusesAForeignVersionAndChangesNothing) {
  PutHandMadeTable(2);
  PutExtent(0xff, 4096);
  const std::string before = ReadWhole(this->table());
  {
    const auto table = Open();
    const PackedName name{CountingId(), ".block"};
    EXPECT_EQ(CodeOf(table->Find(name)), ErrorCode::kUnsupported);
    EXPECT_EQ(CodeOf(table->Allocate(Block(1), 4096)), ErrorCode::kUnsupported);
    EXPECT_EQ(CodeOf(table->Rename(name, Block(1))), ErrorCode::kUnsupported);
    EXPECT_EQ(CodeOf(table->Remove(name)), ErrorCode::kUnsupported);
    EXPECT_EQ(CodeOf(table->SetModified(name, 1)), ErrorCode::kUnsupported);
    EXPECT_EQ(CodeOf(table->List(0x10)), ErrorCode::kUnsupported);
  }
  EXPECT_EQ(ReadWhole(this->table()), before);
  EXPECT_THAT(ExtentBytes(), ElementsAre(16384, 4096));
}

TEST_F(ExtentTableTest, TwoSeeEachOthersChanges) {
  const auto one = Open(), other = Open();
  ASSERT_TRUE(one->Allocate(Temporary(1), 4096).ok());
  EXPECT_TRUE(other->Find(Temporary(1)).ok());
  EXPECT_TRUE(one->Rename(Temporary(1), Block(1)).ok());
  EXPECT_EQ(CodeOf(other->Find(Temporary(1))), ErrorCode::kNotFound);
  EXPECT_TRUE(other->SetModified(Block(1), 77).ok());
  EXPECT_EQ(one->Find(Block(1))->modified_us, 77);
  EXPECT_TRUE(other->Remove(Block(1)).ok());
  EXPECT_EQ(CodeOf(one->Find(Block(1))), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(one->Remove(Block(1))), ErrorCode::kNotFound);
}

TEST_F(ExtentTableTest, TwoSeeMoreChangesThanAreKept) {
  const auto one = Open(), other = Open();
  ASSERT_TRUE(one->Allocate(Block(0), 4096).ok());
  ASSERT_TRUE(other->Find(Block(0)).ok());
  std::vector<PackedName> names{Block(0)};
  for (std::uint64_t i = 1; i <= 3 * kChangesKept; ++i) {
    names.push_back(Block(i));
    ASSERT_TRUE(one->Allocate(names.back(), i % 2 == 0 ? 4096 : 8192).ok());
  }
  EXPECT_EQ(Names(*other), Sorted(names));
  for (; names.size() > 10; names.pop_back()) ASSERT_TRUE(one->Remove(names.back()).ok());
  EXPECT_EQ(Names(*other), Sorted(names));
}

TEST_F(ExtentTableTest, TwoNeverGetOneCell) {
  const std::unique_ptr<ExtentTable> tables[] = {Open(), Open()};
  std::vector<PackedName> names;
  SplitMix64 random(1);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    ExtentTable& table = *tables[random.Below(2)];
    if (!names.empty() && random.Below(3) == 0) {
      std::swap(names[random.Below(names.size())], names.back());
      ASSERT_TRUE(table.Remove(names.back()).ok());
      names.pop_back();
    } else {
      names.push_back(Block(i));
      ASSERT_TRUE(table.Allocate(names.back(), 4096 * (1 + random.Below(3))).ok());
    }
  }
  for (const auto& table : tables) EXPECT_EQ(Names(*table), Sorted(names));
}

TEST_F(ExtentTableTest, RenameReplacesWhatAnotherMade) {
  const auto one = Open(), other = Open();
  const auto old_cell = one->Allocate(Block(1), 4096);
  const auto new_cell = other->Allocate(Temporary(1), 4096);
  ASSERT_TRUE(other->Rename(Temporary(1), Block(1)).ok());
  EXPECT_EQ(one->Find(Block(1))->offset, new_cell->offset);
  EXPECT_EQ(Names(*one), Sorted({Block(1)}));
  EXPECT_EQ(one->Allocate(Block(2), 4096)->offset, old_cell->offset);
  EXPECT_EQ(CodeOf(other->StillThere(*old_cell)), ErrorCode::kNotFound);
}

TEST_F(ExtentTableTest, AllocateTakesNoNameThatStands) {
  const auto table = Open();
  ASSERT_TRUE(table->Allocate(Block(1), 4096).ok());
  EXPECT_EQ(CodeOf(table->Allocate(Block(1), 4096)), ErrorCode::kIoError);
  EXPECT_EQ(CodeOf(Open()->Allocate(Block(1), 8192)), ErrorCode::kIoError);
}

TEST_F(ExtentTableTest, StillThereUntilTheCellIsGivenToAnother) {
  const auto one = Open(), other = Open();
  const auto cell = one->Allocate(Block(1), 4096);
  EXPECT_TRUE(one->StillThere(*cell).ok());
  EXPECT_TRUE(other->Remove(Block(1)).ok());
  EXPECT_TRUE(one->StillThere(*cell).ok());  // nothing was written over it yet
  ASSERT_EQ(other->Allocate(Block(2), 4096)->offset, cell->offset);
  EXPECT_EQ(CodeOf(one->StillThere(*cell)), ErrorCode::kNotFound);
  ASSERT_TRUE(other->Remove(Block(2)).ok());
  ASSERT_EQ(other->Allocate(Block(1), 4096)->offset, cell->offset);
  EXPECT_EQ(CodeOf(one->StillThere(*cell)), ErrorCode::kNotFound);
}

TEST_F(ExtentTableTest, ATornHeaderLosesNothing) {
  const auto names = AllocateTwoExtents(*Open());
  for (const std::uint64_t at : {0, 8, 16, 24, 32, 40, 1023}) {
    FlipByte(table(), at);
    EXPECT_EQ(Names(*Open()), Sorted(names)) << at;
  }
  FlipByte(table(), 100);
  ExpectSound(names);
}

TEST_F(ExtentTableTest, ATornCellIsAFileThatIsGone) {
  auto names = AllocateTwoExtents(*Open());
  const auto cell = *Open()->Find(names[3]);
  FlipByte(table(), CellRecordAt(cell.extent, cell.index) + 33);
  names.erase(names.begin() + 3);
  ExpectSound(names);
}

TEST_F(ExtentTableTest, FilesOfATornExtentAreGoneForGood) {
  auto names = AllocateTwoExtents(*Open());
  FlipByte(table(), ExtentRecordAt(0) + 16);
  names.erase(names.begin(), names.begin() + 10);
  ExpectSound(names);
}

TEST_F(ExtentTableTest, FilesOfAnExtentThatVanishedAreGoneForGood) {
  auto names = AllocateTwoExtents(*Open());
  fs::remove(ExtentPath(folder(), 1));
  names.erase(names.begin(), names.begin() + 10);
  ExpectSound(names);
}

// Numbers are used again, and their cells' records stand.
TEST_F(ExtentTableTest, ANewExtentInPlaceOfALostOneThatWasFullIsEmpty) {
  {
    const auto table = Open();
    for (std::uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(table->Allocate(Block(i), kMiB).ok());
  }
  fs::remove(ExtentPath(folder(), 1));
  const auto table = Open();
  const auto cell = table->Allocate(Block(9), kMiB);
  EXPECT_TRUE(cell.ok()) << (cell.ok() ? "" : cell.error().message);
  EXPECT_EQ(Names(*table), Sorted({Block(9)}));
}

TEST_F(ExtentTableTest, StrangersGoAtTheFirstOpening) {
  auto names = AllocateTwoExtents(*Open());
  PutExtent(0xff, 4096);
  std::ofstream(folder() + "/extents/other") << "x";
  ExpectSound(names);
  EXPECT_FALSE(fs::exists(ExtentPath(folder(), 0xff)));
  EXPECT_TRUE(fs::exists(folder() + "/extents/other"));
}

TEST_F(ExtentTableTest, ChangesNothingWhenItOnlyLooks) {
  const auto names = AllocateTwoExtents(*Open());
  PutExtent(0xff, 4096);
  FlipByte(table(), 100);  // a torn header, which others mend
  const std::string before = ReadWhole(table());
  {
    ExtentTable looking(*files_, {.folder = folder(), .look_only = true});
    EXPECT_EQ(Names(looking), Sorted(names));
  }
  EXPECT_EQ(ReadWhole(table()), before);
  EXPECT_TRUE(fs::exists(ExtentPath(folder(), 0xff)));
}

// Whoever replaced one was killed before its cell was free.
TEST_F(ExtentTableTest, OneOfTwoCellsThatClaimABlockIsGivenUp) {
  Cell one, other;
  {
    const auto table = Open();
    one = *table->Allocate(Block(1), 4096);
    other = *table->Allocate(Block(2), 4096);
  }
  const std::string record = ReadWhole(table()).substr(CellRecordAt(0, one.index), 128);
  Patch(table(), CellRecordAt(0, other.index), record);
  EXPECT_EQ(Names(*Open()), Sorted({Block(1)}));
  ASSERT_TRUE(Open()->Remove(Block(1)).ok());
  EXPECT_THAT(Names(*Open()), IsEmpty());
}

TEST_F(ExtentTableTest, GrowsByAsMuchAsThereIs) {
  const auto table = Open();
  for (std::uint64_t i = 0; i < 32; ++i) ASSERT_TRUE(table->Allocate(Block(i), kMiB).ok());
  EXPECT_THAT(ExtentBytes(), ElementsAre(4 * kMiB, 4 * kMiB, 8 * kMiB, 16 * kMiB));
}

TEST_F(ExtentTableTest, GrowsToItsCapacity) {
  const auto table = Open(10 * kMiB);
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(table->Allocate(Block(i), kMiB).ok());
  EXPECT_THAT(ExtentBytes(), ElementsAre(4 * kMiB, 4 * kMiB, 2 * kMiB));
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(table->Remove(Block(i)).ok());
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(table->Allocate(Block(i), kMiB / 2).ok());
  EXPECT_LE(TotalBytes(), 10 * kMiB);
  EXPECT_EQ(Names(*table).size(), 10u);
}

// What may be stored is the ledger's to say. Cells of another size may hold what is free here.
TEST_F(ExtentTableTest, GrowsByOneCellAtATimeBeyondItsCapacity) {
  const auto table = Open(10 * kMiB);
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(table->Allocate(Block(i), kMiB).ok());
  ASSERT_TRUE(table->Allocate(Block(10), kMiB).ok());
  EXPECT_EQ(TotalBytes(), 11 * kMiB);
}

TEST_F(ExtentTableTest, AFullDiskGetsSmallerExtentsAndThenNone) {
  const auto faults = std::make_shared<Faults>();
  const auto files = MakeFaultyFiles(faults);
  const auto table = Open(*files);
  faults->FailOn(FileCall::kAllocate, 1, 2, ResourceExhausted("full"));
  ASSERT_TRUE(table->Allocate(Block(0), 4096).ok());
  EXPECT_THAT(ExtentBytes(), ElementsAre(kMiB));
  faults->Clear();
  faults->FailOn(FileCall::kAllocate, 1, 0, ResourceExhausted("full"));
  for (std::uint64_t i = 1; i < 256; ++i) ASSERT_TRUE(table->Allocate(Block(i), 4096).ok());
  EXPECT_EQ(CodeOf(table->Allocate(Block(256), 4096)), ErrorCode::kResourceExhausted);
  EXPECT_THAT(ExtentBytes(), ElementsAre(kMiB));
  EXPECT_EQ(Names(*table).size(), 256u);
  EXPECT_EQ(CodeOf(table->Find(Block(256))), ErrorCode::kNotFound);
  faults->Clear();
  EXPECT_TRUE(table->Allocate(Block(256), 4096).ok());
  EXPECT_EQ(Names(*Open()), Names(*table));
}

TEST_F(ExtentTableTest, GivesEmptyExtentsBack) {
  {
    const auto table = Open();
    for (std::uint64_t i = 0; i < 32; ++i) ASSERT_TRUE(table->Allocate(Block(i), 4 * kMiB).ok());
    EXPECT_EQ(TotalBytes(), 128 * kMiB);
    for (std::uint64_t i = 0; i < 32; ++i) ASSERT_TRUE(table->Remove(Block(i)).ok());
    EXPECT_LE(TotalBytes(), 64 * kMiB);
    ASSERT_TRUE(table->Allocate(Block(40), 4 * kMiB).ok());
    EXPECT_EQ(Names(*table), Sorted({Block(40)}));
  }
  EXPECT_THAT(ExtentBytes(), ::testing::Not(IsEmpty()));
  ASSERT_TRUE(Open()->Remove(Block(40)).ok());
  EXPECT_THAT(ExtentBytes(), IsEmpty());
  EXPECT_TRUE(Open()->Allocate(Block(41), 4096).ok());
}

TEST_F(ExtentTableTest, TheLastOneGivesAllExtentsBack) {
  auto one = Open(), other = Open();
  ASSERT_TRUE(one->Allocate(Block(1), 4096).ok());
  ASSERT_TRUE(other->Allocate(Block(2), 8192).ok());
  ASSERT_TRUE(one->Remove(Block(1)).ok());
  one.reset();
  EXPECT_TRUE(fs::exists(ExtentPath(folder(), other->Find(Block(2))->serial)));
  ASSERT_TRUE(other->Remove(Block(2)).ok());
  other.reset();
  EXPECT_THAT(ExtentBytes(), IsEmpty());
}

// Whoever holds the lock was stopped, and goes on later.
TEST_F(ExtentTableTest, CatchesUpWhenTheLockIsFreeAgain) {
  const auto faults = std::make_shared<Faults>();
  const auto files = MakeFaultyFiles(faults);
  const auto one = Open(), other = Open(*files);
  ASSERT_TRUE(one->Allocate(Block(1), 4096).ok());
  ASSERT_TRUE(other->Find(Block(1)).ok());
  faults->FailOn(FileCall::kLock, 1, 0, DeadlineExceeded("stopped"));
  ASSERT_TRUE(one->Allocate(Block(2), 4096).ok());
  EXPECT_TRUE(other->Find(Block(1)).ok());
  EXPECT_EQ(CodeOf(other->Find(Block(2))), ErrorCode::kNotFound);
  faults->Clear();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  bool found = false;
  while (!found && std::chrono::steady_clock::now() < end) found = other->Find(Block(2)).ok();
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace esa::testing
