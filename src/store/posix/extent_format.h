// The bytes of a folder's table of extents, version 1: docs/formats/extents.md tells it in prose.
//
// Records are written as they lie in memory, little-endian, each with the checksum of what follows
// it. Threading: plain data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "esa/block_store.h"
#include "store/posix/file_system.h"

namespace esa {

inline constexpr char kExtentsName[] = "extents";
inline constexpr char kExtentEnding[] = ".extent";
inline constexpr char kTableMagic[8] = {'E', 'S', 'A', 'C', 'E', 'L', 'L', 'S'};
inline constexpr std::uint32_t kTableVersion = 1;

inline constexpr std::uint32_t kChangesKept = 120;
inline constexpr std::uint32_t kMaxCells = 8191;  // of one extent
inline constexpr std::uint32_t kMaxExtents = 1u << 20;
inline constexpr std::size_t kMaxEndingBytes = 72;

// In place of a cell's index: the extent itself.
inline constexpr std::uint32_t kNoCell = 0xffffffffu;

struct ChangedPlace {
  std::uint32_t extent = 0;
  std::uint32_t cell = 0;  // or kNoCell
};

struct TableHeader {
  std::uint64_t checksum = 0;
  std::array<char, 8> magic{};
  std::uint32_t version = kTableVersion;
  std::uint32_t zero = 0;
  std::uint64_t changes = 0;                        // announced since the table was made
  std::uint64_t next_serial = 1;                    // of the next extent
  std::array<ChangedPlace, kChangesKept> latest{};  // the n-th change at (n - 1) % kChangesKept
  std::array<std::uint64_t, 3> zeros{};
};
static_assert(sizeof(TableHeader) == 1024);
inline constexpr std::uint64_t kChangesAt = 24;

struct ExtentRecord {
  std::uint64_t checksum = 0;
  std::uint64_t serial = 0;      // names the file; 0: no extent
  std::uint64_t cell_bytes = 0;  // a multiple of 4096
  std::uint32_t num_cells = 0;
  std::uint32_t zero = 0;
  std::array<std::uint64_t, 12> zeros{};
};

struct CellRecord {
  std::uint64_t checksum = 0;
  std::uint64_t generation = 0;  // how often the cell was given to a file
  std::int64_t modified_us = 0;  // since 1970
  std::uint64_t bytes = 0;       // of the file
  BlockId id;                    // the file's name: 32 digits and an ending
  std::uint8_t used = 0;
  std::uint8_t ending_bytes = 0;
  std::array<std::uint8_t, 6> zeros{};
  std::array<char, kMaxEndingBytes> ending{};
};
static_assert(sizeof(ExtentRecord) == 128 && sizeof(CellRecord) == 128);

// Where records stand in the table.
inline constexpr std::uint64_t kExtentsAt = 4096;
inline constexpr std::uint64_t kExtentStride = 1u << 20;
static_assert(sizeof(ExtentRecord) + kMaxCells * sizeof(CellRecord) <= kExtentStride);

constexpr std::uint64_t ExtentRecordAt(std::uint32_t extent) {
  return kExtentsAt + extent * kExtentStride;
}
constexpr std::uint64_t CellRecordAt(std::uint32_t extent, std::uint32_t cell) {
  return ExtentRecordAt(extent) + sizeof(ExtentRecord) + cell * sizeof(CellRecord);
}

// The checksum that a record should have, and whether it has it.
template <class Record>
std::uint64_t SumOf(const Record& record);
template <class Record>
bool IsWhole(const Record& record) {
  return record.checksum == SumOf(record);
}

extern template std::uint64_t SumOf(const TableHeader&);
extern template std::uint64_t SumOf(const ExtentRecord&);
extern template std::uint64_t SumOf(const CellRecord&);

// A record, or a field of one, as it stands there.
template <class Record>
Status ReadRecord(File& file, const std::string& path, std::uint64_t at, Record* record) {
  return ReadFully(file, path, at, std::as_writable_bytes(std::span(record, 1)));
}

// Sets the checksum.
template <class Record>
Status WriteRecord(File& file, const std::string& path, std::uint64_t at, Record record) {
  record.checksum = SumOf(record);
  return WriteFully(file, path, at, std::as_bytes(std::span(&record, 1)));
}

// FOLDER/extents/table and FOLDER/extents/<16 hex>.extent.
std::string TablePath(const std::string& folder);
std::string ExtentPath(const std::string& folder, std::uint64_t serial);

}  // namespace esa
