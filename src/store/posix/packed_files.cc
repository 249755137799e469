#include "store/posix/packed_files.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "store/lru_cache.h"
#include "store/posix/aligned_bytes.h"
#include "store/posix/extent_table.h"
#include "store/posix/file_names.h"

namespace esa {
namespace {

constexpr std::size_t kMaxOpenExtents = 128;
constexpr std::uint64_t kCopyBytes = 1u << 20;

// A path of a store's folder, taken apart: FOLDER/<2 hex>, or FOLDER/<2 hex>/<name>.
struct FanOut {
  std::string folder;
  std::uint8_t first_byte = 0;

  static std::optional<FanOut> Parse(const std::string& path) {
    const std::size_t slash = path.find_last_of('/');
    if (slash == std::string::npos || !IsFanOutName(path.substr(slash + 1))) return std::nullopt;
    return FanOut{path.substr(0, slash),
                  static_cast<std::uint8_t>(std::stoi(path.substr(slash + 1), nullptr, 16))};
  }
};

struct PackedPath {
  std::string folder;
  PackedName name;

  static std::optional<PackedPath> Parse(const std::string& path) {
    const std::size_t slash = path.find_last_of('/');
    if (slash == std::string::npos) return std::nullopt;
    auto name = PackedName::Parse(std::string_view(path).substr(slash + 1));
    auto fan = FanOut::Parse(path.substr(0, slash));
    if (!name || !fan || name->id.bytes[0] != fan->first_byte) return std::nullopt;
    return PackedPath{std::move(fan->folder), *std::move(name)};
  }
};

class PackedFile final : public File {
 public:
  PackedFile(std::shared_ptr<ExtentTable> table, std::shared_ptr<File> extent, Cell cell,
             std::string path)
      : table_(std::move(table)), extent_(std::move(extent)), cell_(cell), path_(std::move(path)) {}

  Result<std::size_t> Read(std::uint64_t offset, std::span<std::byte> to) override {
    const std::uint64_t left = cell_.bytes - std::min(cell_.bytes, offset);
    if (left == 0 || to.empty()) return std::size_t{0};
    const auto moved = extent_->Read(cell_.offset + offset, to.first(std::min(left, to.size())));
    if (!moved) return moved;
    ESA_RETURN_IF_ERROR(StillThere());
    return moved;
  }

  Result<std::size_t> Write(std::uint64_t offset, std::span<const std::byte> from) override {
    if (!Holds(offset, from.size())) return TooLong(offset + from.size());
    return extent_->Write(cell_.offset + offset, from);
  }

  // Who reads these asks himself whether they are there still.
  Result<std::size_t> ReadPieces(std::uint64_t offset, std::span<const iovec> pieces) override {
    if (!Holds(offset, BytesOf(pieces))) return File::ReadPieces(offset, pieces);
    return extent_->ReadPieces(cell_.offset + offset, pieces);
  }

  Result<std::size_t> WritePieces(std::uint64_t offset, std::span<const iovec> pieces) override {
    if (!Holds(offset, BytesOf(pieces))) return TooLong(offset + BytesOf(pieces));
    return extent_->WritePieces(cell_.offset + offset, pieces);
  }

  bool ReadCached(std::uint64_t offset, std::span<const iovec> pieces) override {
    return Holds(offset, BytesOf(pieces)) && extent_->ReadCached(cell_.offset + offset, pieces);
  }

  std::optional<Target> TargetFor(std::uint64_t offset, std::span<const iovec> pieces,
                                  bool write) const override {
    if (!Holds(offset, BytesOf(pieces))) return std::nullopt;
    return extent_->TargetFor(cell_.offset + offset, pieces, write);
  }

  Status StillThere() const override { return table_->StillThere(cell_); }

  Status Allocate(std::uint64_t bytes) override {
    return bytes <= cell_.bytes ? Status() : TooLong(bytes);
  }
  Status Sync() override { return extent_->Sync(); }
  Result<std::uint64_t> Size() override { return cell_.bytes; }
  void WillNeed(std::uint64_t offset, std::uint64_t bytes) override {
    if (Holds(offset, bytes)) extent_->WillNeed(cell_.offset + offset, bytes);
  }

  Result<bool> TryLock() override { return Error(Unsupported(path_ + ": lock: a packed file")); }
  void Unlock() override {}

 private:
  bool Holds(std::uint64_t offset, std::uint64_t bytes) const {
    return offset <= cell_.bytes && bytes <= cell_.bytes - offset;
  }
  Error TooLong(std::uint64_t bytes) const {
    return IoError(path_ + ": write: up to byte " + std::to_string(bytes) + " of a file of " +
                   std::to_string(cell_.bytes));
  }

  const std::shared_ptr<ExtentTable> table_;
  const std::shared_ptr<File> extent_;
  const Cell cell_;
  const std::string path_;
};

class PackedFiles final : public FileSystem {
 public:
  PackedFiles(std::unique_ptr<FileSystem> below, PackingOptions options)
      : below_(std::move(below)), options_(options), extents_(kMaxOpenExtents) {}

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) override;
  Result<std::unique_ptr<File>> Lock(const std::string& path, bool wait) override {
    return below_->Lock(path, wait);
  }
  Result<PathInfo> Stat(const std::string& path) override;
  Status SetModified(const std::string& path, std::int64_t modified_us) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status MakeFolder(const std::string& path) override { return below_->MakeFolder(path); }
  Status SyncFolder(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& path) override;
  Result<std::vector<ListedFile>> ListFiles(const std::string& path) override;
  bool OnNetwork(const std::string& path) override { return below_->OnNetwork(path); }

 private:
  struct Shared {
    std::shared_ptr<ExtentTable> table;
    bool packs = false;  // files made here
  };

  Shared Of(const std::string& folder);
  // Calls `work` if the path's folder has packed files; nullopt: not, or this is not one of them.
  template <class T, class Work>
  std::optional<T> IfPacked(const std::string& path, Work work);
  Result<std::unique_ptr<File>> OpenCell(const PackedPath& path, const Shared& shared, Cell cell,
                                         bool direct);
  Status MoveOut(const std::string& from, const std::string& to);

  const std::unique_ptr<FileSystem> below_;
  const PackingOptions options_;
  LruCache<std::string, File> extents_;  // by path, with a mark for O_DIRECT
  std::mutex mutex_;
  std::map<std::string, Shared> folders_;  // guarded by mutex_
};

// Over a network a lock is a message to the server, of which a file of its own needs none.
PackedFiles::Shared PackedFiles::Of(const std::string& folder) {
  std::lock_guard lock(mutex_);
  const auto [place, added] = folders_.try_emplace(folder);
  if (added) {
    place->second = {std::make_shared<ExtentTable>(
                         *below_, ExtentTable::Options{.folder = folder,
                                                       .capacity_bytes = options_.capacity_bytes,
                                                       .durable = options_.durable,
                                                       .look_only = options_.look_only}),
                     options_.pack_below_bytes > 0 && !below_->OnNetwork(folder)};
  }
  return place->second;
}

template <class T, class Work>
std::optional<T> PackedFiles::IfPacked(const std::string& path, Work work) {
  const auto packed = PackedPath::Parse(path);
  if (!packed) return std::nullopt;
  const Shared shared = Of(packed->folder);
  if (!shared.table->Exists()) return std::nullopt;
  T result = work(*shared.table, packed->name);
  if (!result && result.error().code == ErrorCode::kNotFound) return std::nullopt;
  return result;
}

Result<std::unique_ptr<File>> PackedFiles::OpenCell(const PackedPath& path, const Shared& shared,
                                                    Cell cell, bool direct) {
  const std::string extent_path = ExtentPath(path.folder, cell.serial);
  const std::string key = extent_path + (direct ? "!" : "");
  std::uint64_t ticket = 0;
  std::shared_ptr<File> extent = extents_.Get(key, &ticket);
  if (extent == nullptr) {
    auto opened = below_->Open(
        extent_path,
        {.mode = options_.look_only ? OpenMode::kRead : OpenMode::kWrite, .direct = direct});
    if (!opened) return opened.error();
    extent = *std::move(opened);
    extents_.Put(key, extent, ticket);
  }
  return std::unique_ptr<File>(
      new PackedFile(shared.table, std::move(extent), cell, path.folder + "/" + path.name.Text()));
}

Result<std::unique_ptr<File>> PackedFiles::Open(const std::string& path, OpenOptions options) {
  const auto packed = PackedPath::Parse(path);
  if (!packed) return below_->Open(path, options);
  const Shared shared = Of(packed->folder);
  if (options.mode == OpenMode::kCreate) {
    const bool small = options.bytes > 0 && options.bytes < options_.pack_below_bytes;
    if (!small || !shared.packs) return below_->Open(path, options);
    ESA_ASSIGN_OR_RETURN(const Cell cell, shared.table->Allocate(packed->name, options.bytes));
    auto file = OpenCell(*packed, shared, cell, options.direct);
    if (!file) (void)shared.table->Remove(packed->name);
    return file;
  }
  if (!shared.table->Exists()) return below_->Open(path, options);
  const auto cell = shared.table->Find(packed->name);
  if (cell) return OpenCell(*packed, shared, *cell, options.direct);
  if (cell.error().code != ErrorCode::kNotFound) return cell.error();
  return below_->Open(path, options);
}

Result<PathInfo> PackedFiles::Stat(const std::string& path) {
  const auto cell = IfPacked<Result<Cell>>(
      path, [](ExtentTable& table, const PackedName& name) { return table.Find(name); });
  if (!cell) return below_->Stat(path);
  if (!*cell) return cell->error();
  return PathInfo{.folder = false,
                  .mode = 0600,
                  .owner = 0,
                  .bytes = (*cell)->bytes,
                  .modified_us = (*cell)->modified_us};
}

Status PackedFiles::SetModified(const std::string& path, std::int64_t modified_us) {
  const auto set = IfPacked<Status>(path, [&](ExtentTable& table, const PackedName& name) {
    return table.SetModified(name, modified_us);
  });
  return set ? *set : below_->SetModified(path, modified_us);
}

Status PackedFiles::Remove(const std::string& path) {
  const auto removed = IfPacked<Status>(
      path, [](ExtentTable& table, const PackedName& name) { return table.Remove(name); });
  if (!removed) return below_->Remove(path);
  // One of its own beside it, of a renaming that was cut short, must not come to light.
  if (removed->ok()) (void)below_->Remove(path);
  return *removed;
}

Status PackedFiles::Rename(const std::string& from, const std::string& to) {
  const auto packed_to = PackedPath::Parse(to);
  const auto renamed =
      IfPacked<Status>(from, [&](ExtentTable& table, const PackedName& name) -> Status {
        if (packed_to) return table.Rename(name, packed_to->name);
        ESA_RETURN_IF_ERROR(table.Find(name));
        return MoveOut(from, to);
      });
  if (!renamed) {
    ESA_RETURN_IF_ERROR(below_->Rename(from, to));
    // One of two places is the file's.
    const auto replaced = IfPacked<Status>(
        to, [](ExtentTable& table, const PackedName& name) { return table.Remove(name); });
    return replaced ? *replaced : Status();
  }
  if (!*renamed || !packed_to) return *renamed;
  // A file of its own that stays behind is not seen as long as this one stands, and says the same.
  (void)below_->Remove(to);
  return *renamed;
}

// To a name that cannot be packed, such as one in quarantine.
Status PackedFiles::MoveOut(const std::string& from, const std::string& to) {
  ESA_ASSIGN_OR_RETURN(const std::unique_ptr<File> source, Open(from, {}));
  ESA_ASSIGN_OR_RETURN(const std::uint64_t bytes, source->Size());
  const Status removed = below_->Remove(to);
  if (!removed && !IsNotFound(removed)) return removed;
  ESA_ASSIGN_OR_RETURN(const std::unique_ptr<File> copy,
                       below_->Open(to, {.mode = OpenMode::kCreate}));
  AlignedBytes buffer(kCopyBytes);
  Status copied;
  for (std::uint64_t at = 0; at < bytes && copied.ok(); at += kCopyBytes) {
    const auto piece = buffer.span().first(std::min(kCopyBytes, bytes - at));
    copied = ReadFully(*source, from, at, piece);
    if (copied.ok()) copied = WriteFully(*copy, to, at, piece);
  }
  if (copied.ok()) copied = Remove(from);
  if (!copied) (void)below_->Remove(to);
  return copied;
}

Status PackedFiles::SyncFolder(const std::string& path) {
  const auto fan = FanOut::Parse(path);
  if (!fan) return below_->SyncFolder(path);
  ExtentTable& table = *Of(fan->folder).table;
  const bool packed = table.Exists();
  if (packed) ESA_RETURN_IF_ERROR(table.Sync());
  const Status synced = below_->SyncFolder(path);
  return packed && IsNotFound(synced) ? Status() : synced;  // all that is in it is packed
}

// Of a fan-out folder, or a store's folder, which may itself have a name of two digits.
Result<std::vector<std::string>> PackedFiles::List(const std::string& path) {
  const auto names = below_->List(path);
  if (!names && names.error().code != ErrorCode::kNotFound) return names;
  std::set<std::string> packed;
  const auto fan = FanOut::Parse(path);
  if (fan && Of(fan->folder).table->Exists()) {
    ESA_ASSIGN_OR_RETURN(const std::vector<ListedFile> files,
                         Of(fan->folder).table->List(fan->first_byte));
    for (const ListedFile& file : files) packed.insert(file.name);
  }
  if (names && Of(path).table->Exists()) {
    ESA_ASSIGN_OR_RETURN(const std::vector<std::uint8_t> bytes, Of(path).table->FirstBytes());
    for (const std::uint8_t byte : bytes) {
      char name[3];
      std::snprintf(name, sizeof(name), "%02x", byte);
      packed.insert(name);
    }
  }
  if (packed.empty()) return names;
  if (names) packed.insert(names->begin(), names->end());
  return std::vector(packed.begin(), packed.end());
}

Result<std::vector<ListedFile>> PackedFiles::ListFiles(const std::string& path) {
  const auto fan = FanOut::Parse(path);
  if (!fan) return below_->ListFiles(path);
  ExtentTable& table = *Of(fan->folder).table;
  auto own = below_->ListFiles(path);
  if (!table.Exists()) return own;
  if (!own && own.error().code != ErrorCode::kNotFound) return own;
  ESA_ASSIGN_OR_RETURN(std::vector<ListedFile> files, table.List(fan->first_byte));
  if (!own || own->empty()) return files;
  std::set<std::string> packed;
  for (const ListedFile& file : files) packed.insert(file.name);
  for (ListedFile& file : *own) {
    if (!packed.contains(file.name)) files.push_back(std::move(file));
  }
  return files;
}

}  // namespace

std::unique_ptr<FileSystem> MakePackedFiles(std::unique_ptr<FileSystem> below,
                                            PackingOptions options) {
  return std::make_unique<PackedFiles>(std::move(below), options);
}

}  // namespace esa
