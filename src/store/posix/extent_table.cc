#include "store/posix/extent_table.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "store/posix/aligned_bytes.h"
#include "store/posix/file_names.h"

namespace esa {
namespace {

constexpr std::size_t kIdDigits = 32;
constexpr std::string_view kBlockEnding = ".block";

// A folder's extents double it until they have this size: few files for much data, and little room
// taken for nothing.
constexpr std::uint64_t kFirstExtentBytes = 4u << 20;
constexpr std::uint64_t kLastExtentBytes = 256u << 20;

// Of empty extents, beyond a half of what is used: to overwrite is faster than to allocate.
constexpr std::uint64_t kSlackBytes = 64u << 20;

constexpr std::chrono::seconds kLookAgain{1};

std::int64_t NowUs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

template <class Record>
Status ReadRecord(File& file, const std::string& path, std::uint64_t at, Record* record) {
  return ReadFully(file, path, at, std::as_writable_bytes(std::span(record, 1)));
}

template <class Record>
Status WriteRecord(File& file, const std::string& path, std::uint64_t at, Record record) {
  record.checksum = SumOf(record);
  return WriteFully(file, path, at, std::as_bytes(std::span(&record, 1)));
}

bool IsSound(const ExtentRecord& record) {
  return IsWhole(record) && record.serial != 0 && record.num_cells > 0 &&
         record.num_cells <= kMaxCells && record.cell_bytes > 0 &&
         record.cell_bytes % kIoAlignment == 0;
}

}  // namespace

std::optional<PackedName> PackedName::Parse(std::string_view name) {
  if (name.size() <= kIdDigits || name.size() > kIdDigits + kMaxEndingBytes) return std::nullopt;
  const auto id =
      ParseBlockName(std::string(name.substr(0, kIdDigits)) + std::string(kBlockEnding));
  if (!id || name[kIdDigits] != '.') return std::nullopt;
  return PackedName{*id, std::string(name.substr(kIdDigits))};
}

ExtentTable::ExtentTable(FileSystem& files, Options options)
    : files_(files), options_(std::move(options)) {}

ExtentTable::~ExtentTable() {
  std::lock_guard lock(mutex_);
  if (table_ == nullptr || used_bytes_ > 0 || total_bytes_ == 0) return;
  (void)Change([&] { return used_bytes_ > 0 ? Status() : Trim(0); });
}

bool ExtentTable::Exists() {
  std::lock_guard lock(mutex_);
  return Open(false).ok();
}

Status ExtentTable::Open(bool create) {
  if (table_ != nullptr) return {};
  const auto now = Clock::now();
  if (!create && looked_ && now - *looked_ < kLookAgain) return NotFound(path() + ": not there");
  looked_ = now;
  if (create) {
    ESA_RETURN_IF_ERROR(files_.MakeFolder(options_.folder + "/" + kExtentsName));
    // To try the lock makes the file.
    if (const auto made = files_.Lock(path(), false); !made) return made.error();
  }
  auto file = files_.Open(path(), {.mode = OpenMode::kWrite});
  if (!file) return file.error();
  table_ = *std::move(file);
  return {};
}

// Looking at the number of changes is one short read, which needs no lock.
Status ExtentTable::CatchUp() {
  ESA_RETURN_IF_ERROR(Open(false));
  std::uint64_t changes = 0;
  const Status read = ReadRecord(*table_, path(), kChangesAt, &changes);
  if (read.ok() && !doubtful_ && changes == header_.changes) return {};
  const auto now = Clock::now();
  if (hung_ && !doubtful_ && now - *hung_ < kLookAgain) return {};
  const Status done = Change([] { return Status(); });
  hung_.reset();
  if (done.ok() || done.error().code != ErrorCode::kDeadlineExceeded) return done;
  // Whoever has the lock was stopped. What was true before that will do.
  hung_ = Clock::now();
  return doubtful_ ? done : Status();
}

Status ExtentTable::Change(const std::function<Status()>& work) {
  ESA_RETURN_IF_ERROR(LockInTime(path(), [this] { return table_->TryLock(); }));
  Status done = CatchUpLocked();
  if (!done) doubtful_ = true;
  if (done.ok()) done = work();
  table_->Unlock();
  return done;
}

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
    return WriteHeader();
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
  if (!std::exchange(tidied_, true)) RemoveStrangers();
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
  unsynced_.insert(extent.serial);  // whoever made it may not have
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

// Before the places are written: whoever is killed in between makes others read what has not
// changed, and never lets them miss a change.
Status ExtentTable::Announce(std::span<const ChangedPlace> places) {
  for (const ChangedPlace& place : places) {
    header_.latest[header_.changes++ % kChangesKept] = place;
  }
  const Status written = WriteHeader();
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
  const Status written =
      WriteRecord(*table_, path(), CellRecordAt(place.extent, place.index), record);
  if (!written) {
    doubtful_ = true;
    return written;
  }
  Apply(place, std::move(slot));
  return {};
}

Status ExtentTable::WriteExtent(std::uint32_t number, const Extent& extent) {
  const ExtentRecord record{.serial = extent.serial,
                            .cell_bytes = extent.cell_bytes,
                            .num_cells = static_cast<std::uint32_t>(extent.slots.size())};
  const Status written = WriteRecord(*table_, path(), ExtentRecordAt(number), record);
  if (!written) doubtful_ = true;
  return written;
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
  const ChangedPlace place{number, kNoCell};
  ESA_RETURN_IF_ERROR(Announce({&place, 1}));
  ESA_RETURN_IF_ERROR(WriteExtent(number, extent));
  unsynced_.insert(extent.serial);
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
  const ChangedPlace place{number, kNoCell};
  ESA_RETURN_IF_ERROR(Announce({&place, 1}));
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

std::optional<ExtentTable::Place> ExtentTable::TakeFree(std::uint64_t cell_bytes) {
  const std::set<Place>& places = free_[cell_bytes];
  if (places.empty()) return std::nullopt;
  return *places.begin();
}

Result<Cell> ExtentTable::Allocate(const PackedName& name, std::uint64_t bytes) {
  ESA_CHECK(bytes > 0 && name.ending.size() <= kMaxEndingBytes);
  const std::uint64_t cell_bytes = AlignedSize(bytes);
  std::lock_guard lock(mutex_);
  ESA_RETURN_IF_ERROR(Open(true));
  Place place;
  bool had_another = false;
  const Status allocated = Change([&]() -> Status {
    if (PlaceOf(name)) return IoError(name.Text() + ": open: File exists");
    ESA_RETURN_IF_ERROR(FreeShadowed());
    std::optional<Place> found = TakeFree(cell_bytes);
    if (!found) {
      ESA_RETURN_IF_ERROR(NewExtent(cell_bytes));
      found = TakeFree(cell_bytes);
    }
    if (!found) return IoError(path() + ": a new extent is not there");
    place = *found;
    const std::uint64_t generation = SlotOf(place).generation;
    had_another = generation > 0;
    const ChangedPlace changed{place.extent, place.index};
    ESA_RETURN_IF_ERROR(Announce({&changed, 1}));
    return WriteCell(place, {.id = name.id,
                             .ending = name.ending,
                             .generation = generation + 1,
                             .modified_us = NowUs(),
                             .bytes = bytes,
                             .used = true});
  });
  if (!allocated) return allocated.error();
  // Else a power loss could leave the name of what was there before, and what is now written.
  if (options_.durable && had_another) ESA_RETURN_IF_ERROR(table_->Sync());
  return CellOf(place);
}

Result<Cell> ExtentTable::Find(const PackedName& name) {
  std::lock_guard lock(mutex_);
  ESA_RETURN_IF_ERROR(CatchUp());
  const std::optional<Place> place = PlaceOf(name);
  if (!place) return NotFound(name.Text() + ": no such file");
  return CellOf(*place);
}

Status ExtentTable::Rename(const PackedName& from, const PackedName& to) {
  std::lock_guard lock(mutex_);
  ESA_RETURN_IF_ERROR(Open(false));
  return Change([&]() -> Status {
    ESA_RETURN_IF_ERROR(FreeShadowed());
    const std::optional<Place> place = PlaceOf(from);
    if (!place) return NotFound(from.Text() + ": no such file");
    const std::optional<Place> replaced = PlaceOf(to);
    std::vector<ChangedPlace> changed{{place->extent, place->index}};
    if (replaced) changed.push_back({replaced->extent, replaced->index});
    ESA_RETURN_IF_ERROR(Announce(changed));
    Slot slot = SlotOf(*place);
    slot.id = to.id;
    slot.ending = to.ending;
    ESA_RETURN_IF_ERROR(WriteCell(*place, std::move(slot)));
    return replaced ? Free(*replaced) : Status();
  });
}

Status ExtentTable::Remove(const PackedName& name) {
  std::lock_guard lock(mutex_);
  ESA_RETURN_IF_ERROR(Open(false));
  return Change([&]() -> Status {
    ESA_RETURN_IF_ERROR(FreeShadowed());
    const std::optional<Place> place = PlaceOf(name);
    if (!place) return NotFound(name.Text() + ": no such file");
    const ChangedPlace changed{place->extent, place->index};
    ESA_RETURN_IF_ERROR(Announce({&changed, 1}));
    ESA_RETURN_IF_ERROR(Free(*place));
    if (extents_[place->extent].num_used > 0) return {};
    return Trim(kSlackBytes + used_bytes_ / 2);
  });
}

Status ExtentTable::SetModified(const PackedName& name, std::int64_t modified_us) {
  std::lock_guard lock(mutex_);
  if (name.ending != kBlockEnding) {
    // Its writer's alone, who is about to rename it: goes to disk with that.
    ESA_RETURN_IF_ERROR(CatchUp());
    const std::optional<Place> place = PlaceOf(name);
    if (!place) return NotFound(name.Text() + ": no such file");
    SlotOf(*place).modified_us = modified_us;
    return {};
  }
  ESA_RETURN_IF_ERROR(Open(false));
  return Change([&]() -> Status {
    const std::optional<Place> place = PlaceOf(name);
    if (!place) return NotFound(name.Text() + ": no such file");
    const ChangedPlace changed{place->extent, place->index};
    ESA_RETURN_IF_ERROR(Announce({&changed, 1}));
    Slot slot = SlotOf(*place);
    slot.modified_us = modified_us;
    return WriteCell(*place, std::move(slot));
  });
}

Result<std::vector<ListedFile>> ExtentTable::List(std::uint8_t first_byte) {
  std::lock_guard lock(mutex_);
  ESA_RETURN_IF_ERROR(CatchUp());
  std::vector<ListedFile> files;
  const auto add = [&](Place place) {
    const Slot& slot = SlotOf(place);
    files.push_back({slot.id.Hex() + slot.ending, slot.bytes, slot.modified_us});
  };
  BlockId first;
  first.bytes[0] = first_byte;
  for (auto i = blocks_.lower_bound(first); i != blocks_.end(); ++i) {
    if (i->first.bytes[0] != first_byte) break;
    add(i->second);
  }
  for (auto i = others_.lower_bound(first.Hex().substr(0, 2)); i != others_.end(); ++i) {
    if (SlotOf(i->second).id.bytes[0] != first_byte) break;
    add(i->second);
  }
  return files;
}

Result<std::vector<std::uint8_t>> ExtentTable::FirstBytes() {
  std::lock_guard lock(mutex_);
  ESA_RETURN_IF_ERROR(CatchUp());
  std::set<std::uint8_t> bytes;
  for (const auto& [name, place] : others_) bytes.insert(SlotOf(place).id.bytes[0]);
  for (auto i = blocks_.begin(); i != blocks_.end();) {
    bytes.insert(i->first.bytes[0]);
    BlockId last;
    last.bytes.fill(0xff);
    last.bytes[0] = i->first.bytes[0];
    i = blocks_.upper_bound(last);
  }
  return std::vector(bytes.begin(), bytes.end());
}

Status ExtentTable::StillThere(const Cell& cell) const {
  CellRecord record;
  ESA_RETURN_IF_ERROR(ReadRecord(*table_, path(), CellRecordAt(cell.extent, cell.index), &record));
  if (record.generation == cell.generation) return {};
  return NotFound(path() + ": the cell was given to another file");
}

Status ExtentTable::Sync() {
  std::set<std::uint64_t> unsynced;
  {
    std::lock_guard lock(mutex_);
    ESA_RETURN_IF_ERROR(Open(false));
    unsynced = std::exchange(unsynced_, {});
  }
  Status synced;
  if (!unsynced.empty()) synced = files_.SyncFolder(options_.folder + "/" + kExtentsName);
  if (synced.ok()) synced = table_->Sync();
  if (synced.ok()) return {};
  std::lock_guard lock(mutex_);
  unsynced_.merge(unsynced);
  return synced;
}

Status ExtentTable::Free(Place place) {
  Slot slot = SlotOf(place);
  slot.used = false;
  return WriteCell(place, std::move(slot));
}

Status ExtentTable::FreeShadowed() {
  while (!shadowed_.empty()) {
    const Place place = *shadowed_.begin();
    const ChangedPlace changed{place.extent, place.index};
    ESA_RETURN_IF_ERROR(Announce({&changed, 1}));
    ESA_RETURN_IF_ERROR(Free(place));
  }
  return {};
}

// The copy in memory.

std::optional<ExtentTable::Place> ExtentTable::PlaceOf(const PackedName& name) const {
  if (name.ending == kBlockEnding) {
    const auto found = blocks_.find(name.id);
    if (found != blocks_.end()) return found->second;
    return std::nullopt;
  }
  const auto found = others_.find(name.Text());
  if (found != others_.end()) return found->second;
  return std::nullopt;
}

Cell ExtentTable::CellOf(Place place) const {
  const Extent& extent = extents_[place.extent];
  const Slot& slot = extent.slots[place.index];
  return {.extent = place.extent,
          .index = place.index,
          .generation = slot.generation,
          .serial = extent.serial,
          .offset = place.index * extent.cell_bytes,
          .bytes = slot.bytes,
          .modified_us = slot.modified_us};
}

void ExtentTable::Apply(Place place, Slot slot) {
  Unlink(place);
  SlotOf(place) = std::move(slot);
  Link(place);
}

void ExtentTable::Link(Place place) {
  Extent& extent = extents_[place.extent];
  const Slot& slot = extent.slots[place.index];
  if (!slot.used) {
    free_[extent.cell_bytes].insert(place);
    return;
  }
  ++extent.num_used;
  used_bytes_ += extent.cell_bytes;
  if (slot.ending != kBlockEnding) {
    others_[slot.id.Hex() + slot.ending] = place;
    return;
  }
  // Two of one name: whoever replaced the first was killed before it was free, or is about to free
  // it. Both hold the same block.
  const auto [entry, added] = blocks_.emplace(slot.id, place);
  if (added) return;
  shadowed_.insert(entry->second);
  entry->second = place;
}

void ExtentTable::Unlink(Place place) {
  Extent& extent = extents_[place.extent];
  const Slot& slot = extent.slots[place.index];
  if (!slot.used) {
    free_[extent.cell_bytes].erase(place);
    return;
  }
  --extent.num_used;
  used_bytes_ -= extent.cell_bytes;
  if (shadowed_.erase(place) > 0) return;
  if (slot.ending != kBlockEnding) {
    const auto found = others_.find(slot.id.Hex() + slot.ending);
    if (found != others_.end() && found->second == place) others_.erase(found);
    return;
  }
  const auto found = blocks_.find(slot.id);
  if (found != blocks_.end() && found->second == place) blocks_.erase(found);
}

void ExtentTable::ForgetExtent(std::uint32_t number) {
  Extent& extent = extents_[number];
  for (std::uint32_t i = 0; i < extent.slots.size(); ++i) Unlink({number, i});
  total_bytes_ -= extent.bytes();
  extent = {};
}

}  // namespace esa
