// Arbitrary edits of the table of extents of a folder with blocks in it: a store opens or refuses
// the folder, serves no byte that is not the block's, and can dump and load afterwards.
//
// The first byte of an input: bit 0 set: the checksums of the records are made to hold after the
// edits, so that what lies behind them is reached. Then edits of four bytes each: which record (0
// to 7: the header, 8 to 15: the extent's, others: a cell's), a position in it (u16), what to flip
// there.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "store/posix/extent_format.h"
#include "store/posix/posix_store.h"
#include "store/testing/store_fixture.h"
#include "store/testing/volatile_files.h"

namespace esa::testing {
namespace {

constexpr char kPath[] = "/store";
constexpr BlockLayout kLayout{
    .block_tokens = 5, .num_slices = 2, .slice_bytes = 4096, .representation_bytes = 24};
constexpr std::uint64_t kFileBytes = 4 * 4096;
constexpr std::uint32_t kCells = 8;
constexpr std::size_t kBlocks = 4;

using Bytes = std::vector<std::byte>;

template <class Record>
void MendSum(Bytes* bytes, std::uint64_t at) {
  Record record;
  if (bytes->size() < at + sizeof(record)) return;
  std::memcpy(static_cast<void*>(&record), bytes->data() + at, sizeof(record));
  record.checksum = SumOf(record);
  std::memcpy(bytes->data() + at, &record, sizeof(record));
}

class Target {
 public:
  Target() {
    const VolatileDisk disk;
    const auto store = Open(disk);
    ESA_CHECK(store != nullptr);
    for (const SampleBlock& block : blocks_) ESA_CHECK(DumpAll(*store, block).failures.empty());
    for (const std::string& path : disk.Paths()) {
      if (path.find("/extents/") != path.npos) files_[path] = disk.Content(path);
    }
    ESA_CHECK(files_.size() == 2 && files_.contains(TablePath(kPath)));
  }

  void Run(std::span<const std::byte> input) {
    const VolatileDisk disk;
    ESA_CHECK(disk.Files()->MakeFolder(std::string(kPath) + "/" + kExtentsName).ok());
    VolatileDisk copy = disk;
    for (const auto& [path, content] : files_) copy.Put(path, content);
    const Bytes table = Edited(input);
    const bool intact = table == files_.at(TablePath(kPath));
    copy.Put(TablePath(kPath), table);
    const auto store = Open(disk);
    ESA_CHECK(store != nullptr || !intact);
    if (store == nullptr) return;  // of another version, says the edited table
    for (const SampleBlock& block : blocks_) {
      const bool hit = Hit(*store, block);
      const Status loaded = LoadAllAndTokens(*store, block);
      ESA_CHECK(!ServedWrongBytes(loaded));
      ESA_CHECK(!intact || (hit && loaded.ok()));
    }
    const SampleBlock fresh(100, kLayout);
    if (!DumpAll(*store, fresh).failures.empty()) return;
    ESA_CHECK(LoadAllAndTokens(*store, fresh).ok());
  }

 private:
  static std::unique_ptr<BlockStore> Open(const VolatileDisk& disk) {
    StoreConfig config;
    config.storage_backends = {kPath};
    config.io_threads = 1;
    config.capacity_bytes = kCells * kFileBytes;
    auto store = CreatePosixStoreOn(disk.Files(), config, kLayout);
    return store.ok() ? *std::move(store) : nullptr;
  }

  Bytes Edited(std::span<const std::byte> input) const {
    Bytes table = files_.at(TablePath(kPath));
    const bool mended = !input.empty() && (input[0] & std::byte{1}) != std::byte{0};
    for (input = input.subspan(std::min<std::size_t>(1, input.size())); input.size() >= 4;
         input = input.subspan(4)) {
      const auto record = std::to_integer<std::uint32_t>(input[0]);
      const std::size_t at =
          std::to_integer<std::size_t>(input[1]) + 256 * std::to_integer<std::size_t>(input[2]);
      const bool header = record < 8;
      const std::uint64_t base = header        ? 0
                                 : record < 16 ? ExtentRecordAt(0)
                                               : CellRecordAt(0, record % kCells);
      const std::size_t bytes = header ? sizeof(TableHeader) : sizeof(CellRecord);
      if (base + at % bytes < table.size()) table[base + at % bytes] ^= input[3];
    }
    if (!mended) return table;
    MendSum<TableHeader>(&table, 0);
    MendSum<ExtentRecord>(&table, ExtentRecordAt(0));
    for (std::uint32_t i = 0; i < kCells; ++i) MendSum<CellRecord>(&table, CellRecordAt(0, i));
    return table;
  }

  const std::vector<SampleBlock> blocks_ = SampleChain(1, kBlocks, kLayout);
  std::map<std::string, Bytes> files_;  // of the extents, by path
};

}  // namespace
}  // namespace esa::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static esa::testing::Target target;
  target.Run(std::as_bytes(std::span(data, size)));
  return 0;
}
