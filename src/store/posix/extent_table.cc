// The verbs of the table, and its copy in memory. Records on disk: extent_table_records.cc.
#include "store/posix/extent_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "store/posix/aligned_bytes.h"
#include "store/posix/file_names.h"

namespace esa {
namespace {

constexpr std::size_t kIdDigits = 32;
constexpr std::string_view kBlockEnding = ".block";

// Of empty extents, beyond a half of what is used: to overwrite is faster than to allocate.
constexpr std::uint64_t kSlackBytes = 64u << 20;

constexpr std::chrono::seconds kLookAgain{1};

std::int64_t NowUs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
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
  if (table_ == nullptr || options_.look_only || used_bytes_ > 0 || total_bytes_ == 0) return;
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
  auto file =
      files_.Open(path(), {.mode = options_.look_only ? OpenMode::kRead : OpenMode::kWrite});
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

std::optional<ExtentTable::Place> ExtentTable::TakeFree(std::uint64_t cell_bytes) {
  const std::set<Place>& places = free_[cell_bytes];
  if (places.empty()) return std::nullopt;
  return *places.begin();
}

Result<Cell> ExtentTable::Allocate(const PackedName& name, std::uint64_t bytes) {
  ESA_CHECK(bytes > 0 && name.ending.size() <= kMaxEndingBytes);
  const std::uint64_t cell_bytes = AlignedSize(bytes);
  std::unique_lock lock(mutex_);
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
    return WriteCell(place, {.id = name.id,
                             .ending = name.ending,
                             .generation = generation + 1,
                             .modified_us = NowUs(),
                             .bytes = bytes,
                             .used = true});
  });
  if (!allocated) return allocated.error();
  const Cell cell = CellOf(place);
  lock.unlock();
  // Else a power loss could leave the name of what was there before, and what is now written.
  if (options_.durable && had_another) ESA_RETURN_IF_ERROR(table_->Sync());
  return cell;
}

Result<Cell> ExtentTable::Find(const PackedName& name) {
  std::lock_guard lock(mutex_);
  ESA_RETURN_IF_ERROR(CatchUp());
  ESA_ASSIGN_OR_RETURN(const Place place, Existing(name));
  return CellOf(place);
}

// The new cell has the name before the old one is free: the block is there all the time.
Status ExtentTable::Rename(const PackedName& from, const PackedName& to) {
  std::lock_guard lock(mutex_);
  ESA_RETURN_IF_ERROR(Open(false));
  return Change([&]() -> Status {
    ESA_RETURN_IF_ERROR(FreeShadowed());
    ESA_ASSIGN_OR_RETURN(const Place place, Existing(from));
    const std::optional<Place> replaced = PlaceOf(to);
    Slot slot = SlotOf(place);
    slot.id = to.id;
    slot.ending = to.ending;
    ESA_RETURN_IF_ERROR(WriteCell(place, std::move(slot)));
    return replaced ? Free(*replaced) : Status();
  });
}

Status ExtentTable::Remove(const PackedName& name) {
  std::lock_guard lock(mutex_);
  ESA_RETURN_IF_ERROR(Open(false));
  return Change([&]() -> Status {
    ESA_RETURN_IF_ERROR(FreeShadowed());
    ESA_ASSIGN_OR_RETURN(const Place place, Existing(name));
    ESA_RETURN_IF_ERROR(Free(place));
    if (extents_[place.extent].num_used > 0) return {};
    return Trim(kSlackBytes + used_bytes_ / 2);
  });
}

Status ExtentTable::SetModified(const PackedName& name, std::int64_t modified_us) {
  std::lock_guard lock(mutex_);
  if (name.ending != kBlockEnding) {
    // Its writer's alone, who is about to rename it: goes to disk with that.
    ESA_RETURN_IF_ERROR(CatchUp());
    ESA_ASSIGN_OR_RETURN(const Place place, Existing(name));
    SlotOf(place).modified_us = modified_us;
    return {};
  }
  ESA_RETURN_IF_ERROR(Open(false));
  return Change([&]() -> Status {
    ESA_ASSIGN_OR_RETURN(const Place place, Existing(name));
    Slot slot = SlotOf(place);
    slot.modified_us = modified_us;
    return WriteCell(place, std::move(slot));
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
  bool names = false;
  {
    std::lock_guard lock(mutex_);
    ESA_RETURN_IF_ERROR(Open(false));
    names = std::exchange(names_unsynced_, false);
  }
  Status synced;
  if (names) synced = files_.SyncFolder(options_.folder + "/" + kExtentsName);
  if (synced.ok()) synced = table_->Sync();
  if (synced.ok() || !names) return synced;
  std::lock_guard lock(mutex_);
  names_unsynced_ = true;
  return synced;
}

Status ExtentTable::Free(Place place) {
  Slot slot = SlotOf(place);
  slot.used = false;
  return WriteCell(place, std::move(slot));
}

Status ExtentTable::FreeShadowed() {
  while (!shadowed_.empty()) ESA_RETURN_IF_ERROR(Free(Place(*shadowed_.begin())));
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

Result<ExtentTable::Place> ExtentTable::Existing(const PackedName& name) const {
  if (const std::optional<Place> place = PlaceOf(name)) return *place;
  return NotFound(name.Text() + ": no such file");
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
