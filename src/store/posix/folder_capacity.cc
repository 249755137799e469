// The capacity that the stores of a folder keep together, and pins that other stores respect:
// docs/capacity.md.
#include <algorithm>
#include <cstring>
#include <utility>

#include "store/posix/file_names.h"
#include "store/posix/folder.h"
#include "store/posix/ledger_fields.h"

namespace esa {
namespace {

// Of the capacity: what others may have written, or taken away, before this store scans again.
constexpr std::uint64_t kScansPerCapacity = 16;

void Subtract(LockedNumbers* ledger, LedgerField field, std::uint64_t bytes) {
  ledger->values[field] -= std::min(bytes, ledger->values[field]);
}

// By what could not be written down earlier.
void Settle(LockedNumbers* ledger, LedgerField field, std::int64_t owed) {
  const auto value = static_cast<std::int64_t>(ledger->values[field]);
  ledger->values[field] = static_cast<std::uint64_t>(std::max<std::int64_t>(0, value - owed));
}

std::uint64_t Held(const LockedNumbers& ledger) {
  return ledger.values[kStoredBytes] + ledger.values[kReservedBytes];
}

}  // namespace

Status Folder::WithLedger(const std::function<Status(LockedNumbers*)>& work) {
  std::lock_guard lock(ledger_mutex_);
  auto ledger = LockedNumbers::Lock(files_, LedgerPath(options_.path));
  if (!ledger) return ledger.error();
  Settle(&*ledger, kStoredBytes, owed_stored_);
  Settle(&*ledger, kReservedBytes, owed_reserved_);
  const Status done = work(&*ledger);
  // What is not whole is left so: the next that needs room finds it out anew.
  const Status written = ledger->whole() ? ledger->Write() : Status();
  if (written.ok()) owed_stored_ = owed_reserved_ = 0;
  return done.ok() ? written : done;
}

Status Folder::Reserve(std::uint64_t bytes) {
  if (options_.capacity_bytes == 0) return {};
  return WithLedger([&](LockedNumbers* ledger) -> Status {
    if (!ledger->whole() || UnsureOf(*ledger)) {
      const Status scanned = Scan(ledger, nullptr);
      // With a ledger, a failure to list is not one of this dump: it knows as much as before.
      if (!scanned && !ledger->whole()) return scanned;
    }
    if (Status room = MakeRoom(ledger, bytes); !room) return room;
    ledger->values[kReservedBytes] += bytes;
    ledger->values[kReservedEver] += bytes;
    known_reserved_ += bytes;
    return {};
  });
}

void Folder::Release(std::uint64_t bytes) {
  if (options_.capacity_bytes == 0) return;
  const Status done = WithLedger([&](LockedNumbers* ledger) {
    Subtract(ledger, kReservedBytes, bytes);
    return Status();
  });
  if (done.ok()) return;
  std::lock_guard lock(ledger_mutex_);
  owed_reserved_ += static_cast<std::int64_t>(bytes);
}

// A name and its entry in the index come and go together, under ledger_mutex_: else who removes a
// block between the two would leave an entry without a file.
Status Folder::RenameCounted(const std::string& temporary, const BlockId& id,
                             const BlockIndex::Entry& entry) {
  const auto rename = [&]() -> Status {
    if (Status renamed = files_.Rename(temporary, PathOf(id)); !renamed) return renamed;
    std::lock_guard lock(mutex_);
    refused_.erase(id);
    index_.Put(id, entry);
    return {};
  };
  if (options_.capacity_bytes == 0) {
    std::lock_guard names(ledger_mutex_);
    return rename();
  }
  bool renamed = false;
  const Status done = WithLedger([&](LockedNumbers* ledger) -> Status {
    const std::uint64_t replaced = BytesOf(id);
    if (Status status = rename(); !status) return status;
    renamed = true;
    Subtract(ledger, kStoredBytes, replaced);
    ledger->values[kStoredBytes] += entry.bytes;
    Subtract(ledger, kReservedBytes, entry.bytes);
    return {};
  });
  // The ledger could not be written: the bytes are reserved still, and the block must not stand.
  if (!done && renamed) {
    std::lock_guard names(ledger_mutex_);
    if (files_.Remove(PathOf(id)).ok()) EraseEntry(id);
  }
  return done;
}

void Folder::EraseEntry(const BlockId& id) {
  std::lock_guard lock(mutex_);
  index_.Erase(id);
}

// In one change of the ledger: a scan between the two would count the removal twice.
Status Folder::DropCounted(const BlockId& id, std::uint64_t reserved_again,
                           const std::function<Status()>& drop) {
  bool tried = false;
  std::int64_t stored = 0;
  Status dropped;
  const auto drop_name = [&] {
    tried = true;
    const std::uint64_t bytes = BytesOf(id);
    dropped = drop();
    const bool vanished = !dropped && dropped.error().code == ErrorCode::kNotFound;
    if (dropped.ok()) stored = static_cast<std::int64_t>(bytes);
    if (vanished) vanished_bytes_ += IndexedBytes(id);
    if (dropped.ok() || vanished) EraseEntry(id);
  };
  if (options_.capacity_bytes == 0) {
    std::lock_guard names(ledger_mutex_);
    drop_name();
    return dropped;
  }
  const auto again = static_cast<std::int64_t>(reserved_again);
  const Status written = WithLedger([&](LockedNumbers* ledger) {
    drop_name();
    Settle(ledger, kStoredBytes, stored);
    Settle(ledger, kReservedBytes, -again);
    return Status();
  });
  if (written.ok()) return dropped;
  std::lock_guard names(ledger_mutex_);
  if (!tried) drop_name();
  owed_stored_ += stored;
  owed_reserved_ -= again;
  return dropped;
}

void Folder::TakeBack(const BlockId& id, std::uint64_t bytes) {
  (void)DropCounted(id, bytes, [&] { return files_.Remove(PathOf(id)); });
}

bool Folder::UnsureOf(const LockedNumbers& ledger) const {
  const std::uint64_t by_others = ledger.values[kReservedEver] - known_reserved_;
  return by_others + vanished_bytes_ > options_.capacity_bytes / kScansPerCapacity;
}

Status Folder::MakeRoom(LockedNumbers* ledger, std::uint64_t bytes) {
  const auto fits = [&] { return Held(*ledger) + bytes <= options_.capacity_bytes; };
  if (fits()) return {};
  if (bytes > options_.capacity_bytes) return NoRoom(bytes);
  if (known_pin_changes_ != ledger->values[kPinChanges]) ReadForeignPins();
  known_pin_changes_ = ledger->values[kPinChanges];
  bool scanned = false;
  while (!fits()) {
    std::optional<BlockId> oldest;
    {
      std::lock_guard lock(mutex_);
      oldest = index_.Oldest();
    }
    if (oldest) {
      if (Status evicted = Evict(ledger, *oldest); !evicted) return evicted;
      continue;
    }
    if (scanned) return NoRoom(bytes);
    scanned = true;
    ReadForeignPins();  // of which some may have died
    if (Status status = Scan(ledger, nullptr); !status) return status;
  }
  return {};
}

Error Folder::NoRoom(std::uint64_t wanted) const {
  return ResourceExhausted(options_.path + ": no room for " + std::to_string(wanted) +
                           " bytes in a capacity of " + std::to_string(options_.capacity_bytes) +
                           ": all else is pinned or being written");
}

Status Folder::Evict(LockedNumbers* ledger, const BlockId& id) {
  BlockIndex::Entry entry;
  {
    std::lock_guard lock(mutex_);
    const BlockIndex::Entry* known = index_.Find(id);
    if (known == nullptr) return {};
    entry = *known;
    index_.Erase(id);
  }
  const Result<PathInfo> info = files_.Stat(PathOf(id));
  const std::int64_t used_us = info.ok() ? info->modified_us - clock_ahead_us_ : 0;
  const bool used_elsewhere = used_us > entry.stamp_us;
  Status removed;
  if (!used_elsewhere) {
    removed = files_.Remove(PathOf(id));
    if (options_.on_gone) options_.on_gone(id);
  }
  const bool vanished = !removed && removed.error().code == ErrorCode::kNotFound;
  if (vanished) vanished_bytes_ += entry.bytes;
  std::lock_guard lock(mutex_);
  if (used_elsewhere || (!removed && !vanished)) {
    // Unless it was committed anew meanwhile.
    if (index_.Find(id) == nullptr) {
      index_.Put(id, {entry.bytes, used_elsewhere ? used_us : entry.stamp_us});
    }
    return removed;
  }
  if (!vanished) {
    Subtract(ledger, kStoredBytes, info.ok() ? info->bytes : entry.bytes);
    ++evicted_blocks_;
  }
  return {};
}

void Folder::Pin(const BlockId& id) {
  std::lock_guard lock(mutex_);
  index_.Pin(id);
  if (++pins_[id] == 1) pins_changed_ = true;
}

void Folder::Unpin(const BlockId& id) {
  std::lock_guard lock(mutex_);
  const auto pin = pins_.find(id);
  if (pin == pins_.end()) return;
  index_.Unpin(id);
  if (--pin->second > 0) return;
  pins_.erase(pin);
  pins_changed_ = true;
}

void Folder::PublishPins() {
  if (options_.capacity_bytes == 0) return;
  std::vector<BlockId> pins;
  {
    std::lock_guard lock(mutex_);
    if (!std::exchange(pins_changed_, false)) return;
    pins.reserve(pins_.size());
    for (const auto& pin : pins_) pins.push_back(pin.first);
  }
  if (WritePins(pins).ok()) return;
  std::lock_guard lock(mutex_);
  pins_changed_ = true;  // once more, with the next flush
}

Status Folder::WritePins(std::span<const BlockId> pins) {
  return WithLedger([&](LockedNumbers* ledger) -> Status {
    const std::string path = PinsPath(options_.path, owner_);
    const auto file = files_.Lock(path, true);
    if (!file) return file.error();
    published_ = true;
    ++ledger->values[kPinChanges];
    return WriteChecked(**file, path, std::as_bytes(pins));
  });
}

void Folder::WithdrawPins() {
  {
    std::lock_guard lock(ledger_mutex_);
    if (!published_) return;
  }
  (void)WithLedger([&](LockedNumbers* ledger) {
    ++ledger->values[kPinChanges];
    return files_.Remove(PinsPath(options_.path, owner_));
  });
}

void Folder::ReadForeignPins() {
  const auto names = files_.List(options_.path);
  if (!names) return;
  std::vector<BlockId> pins;
  for (const std::string& name : *names) {
    const std::optional<std::string> owner = OwnerOfPinsName(name);
    if (!owner || *owner == owner_) continue;
    const std::vector<BlockId> theirs = PinsOf(*owner);
    pins.insert(pins.end(), theirs.begin(), theirs.end());
  }
  std::lock_guard lock(mutex_);
  for (const BlockId& id : pins) index_.Pin(id);
  for (const BlockId& id : foreign_pins_) index_.Unpin(id);
  foreign_pins_ = std::move(pins);
}

// The lock of its owner file says whether a store lives, as for its temporaries.
std::vector<BlockId> Folder::PinsOf(const std::string& owner) {
  const auto lock = files_.Lock(OwnerPath(options_.path, owner), false);
  if (lock.ok() && *lock != nullptr) return {};
  const std::string path = PinsPath(options_.path, owner);
  const auto file = files_.Open(path, {});
  if (!file) return {};
  const auto payload = ReadChecked(**file, path);
  if (!payload) return {};
  std::vector<BlockId> pins(payload->size() / sizeof(BlockId));
  if (!pins.empty()) std::memcpy(pins.data(), payload->data(), pins.size() * sizeof(BlockId));
  return pins;
}

}  // namespace esa
