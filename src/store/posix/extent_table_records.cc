// The records of the table on disk: reading what has changed, writing it, making and giving back
// extents.
#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "store/posix/aligned_bytes.h"
#include "store/posix/extent_table.h"

namespace esa {
namespace {

// A folder's extents double it until they have this size: few files for much data, and little room
// taken for nothing.
constexpr std::uint64_t kFirstExtentBytes = 4u << 20;
constexpr std::uint64_t kLastExtentBytes = 256u << 20;

bool IsSound(const ExtentRecord& record) {
  return IsWhole(record) && record.serial != 0 && record.num_cells > 0 &&
         record.num_cells <= kMaxCells && record.cell_bytes > 0 &&
         record.cell_bytes % kIoAlignment == 0;
}

}  // namespace

Status ExtentTable::CatchUpLocked() {
  TableHeader header;
  const Status read = ReadRecord(*table_, path(), 0, &header);
  if (!read && read.error().code != ErrorCode::kDataError) return read;
  if (read.ok() && IsWhole(header) && header.magic == std::to_array(kTableMagic) &&
      header.version != kTableVersion) {
    return Unsupported(path() + ": version " + std::to_string(header.version) + ", expected " +
                       std::to_string(kTableVersion));
  }
  if (!read || !IsWhole(header) || header.magic != std::to_array(kTableMagic)) {
    // New, or torn by a loss of power. What others have in memory is then no longer true.
    const std::uint64_t changes = std::max(header_.changes, header.changes) + kChangesKept + 1;
    header_ = {.magic = std::to_array(kTableMagic), .changes = changes};
    ESA_RETURN_IF_ERROR(ReadAll());
    return options_.look_only ? Status() : WriteHeader();
  }
  const std::uint64_t missed = header.changes - header_.changes;
  const bool all = doubtful_ || missed > kChangesKept;
  const std::uint64_t known = std::exchange(header_, header).changes;
  if (all) return ReadAll();
  for (std::uint64_t change = known; change < header.changes; ++change) {
    const ChangedPlace& place = header.latest[change % kChangesKept];
    if (place.cell == kNoCell) {
      ESA_RETURN_IF_ERROR(ReadExtent(place.extent));
    } else {
      ESA_RETURN_IF_ERROR(ReadCell({place.extent, place.cell}));
    }
  }
  return {};
}

Status ExtentTable::ReadAll() {
  for (std::uint32_t i = 0; i < extents_.size(); ++i) ForgetExtent(i);
  extents_.clear();
  free_.clear();
  shadowed_.clear();
  ESA_ASSIGN_OR_RETURN(const std::uint64_t size, table_->Size());
  const std::uint64_t beyond = size > kExtentsAt ? size - kExtentsAt : 0;
  const std::uint64_t count =
      std::min<std::uint64_t>((beyond + kExtentStride - 1) / kExtentStride, kMaxExtents);
  for (std::uint32_t i = 0; i < count; ++i) ESA_RETURN_IF_ERROR(ReadExtent(i));
  for (const Extent& extent : extents_) {
    header_.next_serial = std::max(header_.next_serial, extent.serial + 1);
  }
  doubtful_ = false;
  if (!std::exchange(tidied_, true) && !options_.look_only) RemoveStrangers();
  return {};
}

// Files of extents that the table does not name: their makers were killed before they wrote it
// down.
void ExtentTable::RemoveStrangers() {
  const std::string folder = options_.folder + "/" + kExtentsName;
  const auto names = files_.List(folder);
  if (!names) return;
  std::set<std::string> known;
  for (const Extent& extent : extents_) known.insert(ExtentPath(options_.folder, extent.serial));
  for (const std::string& name : *names) {
    const std::string stranger = folder + "/" + name;
    if (name.ends_with(kExtentEnding) && !known.contains(stranger)) (void)files_.Remove(stranger);
  }
}

Status ExtentTable::ReadExtent(std::uint32_t number) {
  if (number >= kMaxExtents) return DataError(path() + ": names an extent out of range");
  ExtentRecord record;
  const Status read = ReadRecord(*table_, path(), ExtentRecordAt(number), &record);
  if (!read && read.error().code != ErrorCode::kDataError) return read;
  if (number < extents_.size() && read.ok() && extents_[number].serial == record.serial) return {};
  if (number >= extents_.size()) extents_.resize(number + 1);
  ForgetExtent(number);
  if (!read || !IsSound(record)) return {};
  // One whose file is gone is none; its number is used again.
  const Result<PathInfo> info = files_.Stat(ExtentPath(options_.folder, record.serial));
  if (!info && info.error().code != ErrorCode::kNotFound) return info.error();
  if (!info) return {};
  std::vector<CellRecord> cells(record.num_cells);
  const auto bytes = std::as_writable_bytes(std::span(cells));
  // The table ends behind the last cell that was ever used.
  ESA_ASSIGN_OR_RETURN(const std::uint64_t size, table_->Size());
  const std::uint64_t at = CellRecordAt(number, 0);
  const std::uint64_t there = std::min<std::uint64_t>(bytes.size(), size > at ? size - at : 0);
  ESA_RETURN_IF_ERROR(ReadFully(*table_, path(), at, bytes.first(there)));
  Extent& extent = extents_[number];
  extent.serial = record.serial;
  extent.cell_bytes = record.cell_bytes;
  extent.slots.resize(record.num_cells);
  total_bytes_ += extent.bytes();
  names_unsynced_ = true;  // whoever made it may not have synced its name
  for (std::uint32_t i = 0; i < record.num_cells; ++i) {
    Apply({number, i}, SlotFrom(cells[i], record.cell_bytes).value_or(Slot()));
  }
  return {};
}

Status ExtentTable::ReadCell(Place place) {
  // Of an extent that has been given back since.
  if (place.extent >= extents_.size() || place.index >= extents_[place.extent].slots.size()) {
    return {};
  }
  CellRecord cell;
  const Status read = ReadRecord(*table_, path(), CellRecordAt(place.extent, place.index), &cell);
  if (!read && read.error().code != ErrorCode::kDataError) return read;
  if (!read) return {};
  if (auto slot = SlotFrom(cell, extents_[place.extent].cell_bytes)) Apply(place, *std::move(slot));
  return {};
}

// nullopt: the record was never written, or torn by a loss of power.
std::optional<ExtentTable::Slot> ExtentTable::SlotFrom(const CellRecord& record,
                                                       std::uint64_t cell_bytes) {
  if (!IsWhole(record) || record.ending_bytes > kMaxEndingBytes) return std::nullopt;
  return Slot{.id = record.id,
              .ending = std::string(record.ending.data(), record.ending_bytes),
              .generation = record.generation,
              .modified_us = record.modified_us,
              .bytes = std::min(record.bytes, cell_bytes),
              .used = record.used != 0};
}

Status ExtentTable::WriteHeader() { return WriteRecord(*table_, path(), 0, header_); }

// Announces the change first: whoever is killed in between makes others read what has not changed,
// and never lets them miss a change.
template <class Record>
Status ExtentTable::WriteAnnounced(ChangedPlace place, std::uint64_t at, const Record& record) {
  header_.latest[header_.changes++ % kChangesKept] = place;
  Status written = WriteHeader();
  if (written.ok()) written = WriteRecord(*table_, path(), at, record);
  if (!written) doubtful_ = true;
  return written;
}

Status ExtentTable::WriteCell(Place place, Slot slot) {
  CellRecord record{.generation = slot.generation,
                    .modified_us = slot.modified_us,
                    .bytes = slot.bytes,
                    .id = slot.id,
                    .used = static_cast<std::uint8_t>(slot.used ? 1 : 0),
                    .ending_bytes = static_cast<std::uint8_t>(slot.ending.size())};
  std::ranges::copy(slot.ending, record.ending.begin());
  ESA_RETURN_IF_ERROR(
      WriteAnnounced({place.extent, place.index}, CellRecordAt(place.extent, place.index), record));
  Apply(place, std::move(slot));
  return {};
}

Status ExtentTable::WriteExtent(std::uint32_t number, const Extent& extent) {
  const ExtentRecord record{.serial = extent.serial,
                            .cell_bytes = extent.cell_bytes,
                            .num_cells = static_cast<std::uint32_t>(extent.slots.size())};
  return WriteAnnounced({number, kNoCell}, ExtentRecordAt(number), record);
}

std::uint64_t ExtentTable::SizeOfNewExtent(std::uint64_t cell_bytes) const {
  std::uint64_t bytes = std::clamp(total_bytes_, kFirstExtentBytes, kLastExtentBytes);
  if (options_.capacity_bytes > 0) {
    const std::uint64_t left =
        options_.capacity_bytes - std::min(options_.capacity_bytes, total_bytes_);
    bytes = std::min(bytes, left);
  }
  return std::clamp<std::uint64_t>(bytes / cell_bytes, 1, kMaxCells);
}

Status ExtentTable::NewExtent(std::uint64_t cell_bytes) {
  if (options_.capacity_bytes > 0 && total_bytes_ + cell_bytes > options_.capacity_bytes) {
    ESA_RETURN_IF_ERROR(Trim(0));  // what other sizes of cells have left empty
  }
  const auto unused = std::ranges::find(extents_, std::uint64_t{0}, &Extent::serial);
  const auto number = static_cast<std::uint32_t>(unused - extents_.begin());
  if (number >= kMaxExtents) return ResourceExhausted(path() + ": has no room for more extents");
  Extent extent{
      .serial = header_.next_serial++, .cell_bytes = cell_bytes, .num_used = 0, .slots = {}};
  const std::string file_path = ExtentPath(options_.folder, extent.serial);
  Status allocated;
  for (std::uint64_t cells = SizeOfNewExtent(cell_bytes); cells > 0; cells /= 2) {
    (void)files_.Remove(file_path);  // of a maker that was killed, or lost power
    auto file = files_.Open(file_path, {.mode = OpenMode::kCreate});
    if (!file) return file.error();
    extent.slots.resize(cells);
    allocated = (*file)->Allocate(extent.bytes());
    if (allocated.ok()) break;
    if (allocated.error().code != ErrorCode::kResourceExhausted) break;
  }
  if (!allocated) {
    (void)files_.Remove(file_path);
    return allocated;
  }
  ESA_RETURN_IF_ERROR(ClearCells(number));
  ESA_RETURN_IF_ERROR(WriteExtent(number, extent));
  return ReadExtent(number);
}

// What a former extent of this number left, if it was lost with files in it: they are gone with it,
// and only the generations of the cells go on.
Status ExtentTable::ClearCells(std::uint32_t number) {
  ESA_ASSIGN_OR_RETURN(const std::uint64_t size, table_->Size());
  const std::uint64_t begin = CellRecordAt(number, 0);
  const std::uint64_t end = std::min(size, CellRecordAt(number, kMaxCells));
  if (end <= begin) return {};
  std::vector<CellRecord> cells((end - begin) / sizeof(CellRecord));
  ESA_RETURN_IF_ERROR(ReadFully(*table_, path(), begin, std::as_writable_bytes(std::span(cells))));
  for (std::uint32_t i = 0; i < cells.size(); ++i) {
    if (!IsWhole(cells[i]) || cells[i].used == 0) continue;
    cells[i].used = 0;
    ESA_RETURN_IF_ERROR(WriteRecord(*table_, path(), CellRecordAt(number, i), cells[i]));
  }
  return {};
}

Status ExtentTable::DropExtent(std::uint32_t number) {
  ESA_RETURN_IF_ERROR(WriteExtent(number, Extent()));
  (void)files_.Remove(ExtentPath(options_.folder, extents_[number].serial));
  ForgetExtent(number);
  return {};
}

// Gives back empty extents as long as more than this is unused.
Status ExtentTable::Trim(std::uint64_t slack_bytes) {
  for (std::uint32_t i = 0; i < extents_.size(); ++i) {
    const Extent& extent = extents_[i];
    if (extent.serial == 0 || extent.num_used > 0) continue;
    if (total_bytes_ - used_bytes_ < slack_bytes + extent.bytes()) continue;
    ESA_RETURN_IF_ERROR(DropExtent(i));
  }
  return {};
}

}  // namespace esa
