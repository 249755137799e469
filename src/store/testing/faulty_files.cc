#include "store/testing/faulty_files.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace esa::testing {

void Faults::FailOn(FileCall call, std::uint64_t first, std::uint64_t last, Error error) {
  std::lock_guard lock(mutex_);
  rules_.push_back({call, first, last, 0, std::move(error)});
}

void Faults::DiskFullAfter(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  disk_bound_ = true;
  disk_left_ = bytes;
}

void Faults::Delay(std::chrono::milliseconds each) {
  std::lock_guard lock(mutex_);
  delay_ = each;
}

void Faults::ShortTransfers(std::size_t max_bytes) {
  std::lock_guard lock(mutex_);
  max_transfer_ = max_bytes;
}

void Faults::FlipBit(std::uint64_t read, std::size_t at) {
  std::lock_guard lock(mutex_);
  flip_in_ = read;
  flip_at_ = at;
}

void Faults::Clear() {
  std::lock_guard lock(mutex_);
  rules_.clear();
  struck_ = false;
  disk_bound_ = false;
  delay_ = {};
  max_transfer_ = 0;
  flip_in_ = 0;
}

bool Faults::struck() const {
  std::lock_guard lock(mutex_);
  return struck_;
}

Status Faults::Enter(FileCall call) {
  std::chrono::milliseconds delay{0};
  Status status;
  {
    std::lock_guard lock(mutex_);
    if (call == FileCall::kRead || call == FileCall::kWrite) delay = delay_;
    for (Rule& rule : rules_) {
      if (rule.call != call) continue;
      ++rule.seen;
      const bool fails = rule.seen >= rule.first && (rule.last == 0 || rule.seen <= rule.last);
      if (fails && status.ok()) status = rule.error;
    }
    struck_ = struck_ || !status;
  }
  // The fault itself is a wait: of a disk that is slow.
  if (delay.count() > 0) std::this_thread::sleep_for(delay);
  return status;
}

std::size_t Faults::Limit(std::size_t bytes) const {
  std::lock_guard lock(mutex_);
  return max_transfer_ == 0 ? bytes : std::min(bytes, max_transfer_);
}

Result<std::size_t> Faults::AdmitWrite(std::size_t bytes) {
  bytes = Limit(bytes);
  std::lock_guard lock(mutex_);
  if (!disk_bound_) return bytes;
  if (disk_left_ == 0) return ResourceExhausted("write: No space left on device");
  const std::size_t admitted = std::min<std::uint64_t>(bytes, disk_left_);
  disk_left_ -= admitted;
  return admitted;
}

void Faults::Corrupt(std::span<std::byte> bytes) {
  std::lock_guard lock(mutex_);
  if (flip_in_ == 0 || --flip_in_ > 0 || bytes.empty()) return;
  bytes[flip_at_ % bytes.size()] ^= std::byte{4};
}

class FaultyFile final : public File {
 public:
  FaultyFile(std::shared_ptr<Faults> faults, std::unique_ptr<File> real)
      : faults_(std::move(faults)), real_(std::move(real)) {}

  Result<std::size_t> Read(std::uint64_t offset, std::span<std::byte> to) override {
    if (Status status = faults_->Enter(FileCall::kRead); !status) return status.error();
    const auto moved = real_->Read(offset, to.first(faults_->Limit(to.size())));
    if (moved) faults_->Corrupt(to.first(*moved));
    return moved;
  }

  // Bytes in memory are read like others: what strikes there strikes here.
  bool ReadCached(std::uint64_t offset, std::span<const iovec> pieces) override {
    const auto moved = ReadPieces(offset, pieces);
    return moved && *moved == BytesOf(pieces);
  }

  Result<std::size_t> Write(std::uint64_t offset, std::span<const std::byte> from) override {
    if (Status status = faults_->Enter(FileCall::kWrite); !status) return status.error();
    const auto admitted = faults_->AdmitWrite(from.size());
    if (!admitted) return admitted;
    return real_->Write(offset, from.first(*admitted));
  }

  Status Allocate(std::uint64_t bytes) override {
    if (Status status = faults_->Enter(FileCall::kAllocate); !status) return status;
    return real_->Allocate(bytes);
  }

  Status Sync() override {
    if (Status status = faults_->Enter(FileCall::kSync); !status) return status;
    return real_->Sync();
  }

  Result<std::uint64_t> Size() override {
    if (Status status = faults_->Enter(FileCall::kSize); !status) return status.error();
    return real_->Size();
  }

  void WillNeed(std::uint64_t offset, std::uint64_t bytes) override {
    real_->WillNeed(offset, bytes);
  }

  Result<bool> TryLock() override {
    if (Status status = faults_->Enter(FileCall::kLock); !status) return status.error();
    return real_->TryLock();
  }

  void Unlock() override { real_->Unlock(); }

 private:
  std::shared_ptr<Faults> faults_;
  std::unique_ptr<File> real_;
};

class FaultyFiles final : public FileSystem {
 public:
  FaultyFiles(std::shared_ptr<Faults> faults, std::unique_ptr<FileSystem> real)
      : faults_(std::move(faults)), real_(std::move(real)) {}

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) override {
    if (Status status = faults_->Enter(FileCall::kOpen); !status) return status.error();
    auto file = real_->Open(path, options);
    if (!file) return file;
    return std::unique_ptr<File>(new FaultyFile(faults_, *std::move(file)));
  }

  Result<std::unique_ptr<File>> Lock(const std::string& path, bool wait) override {
    if (Status status = faults_->Enter(FileCall::kLock); !status) return status.error();
    return real_->Lock(path, wait);
  }

  Result<PathInfo> Stat(const std::string& path) override {
    if (Status status = faults_->Enter(FileCall::kStat); !status) return status.error();
    return real_->Stat(path);
  }

  Status SetModified(const std::string& path, std::int64_t modified_us) override {
    if (Status status = faults_->Enter(FileCall::kSetModified); !status) return status;
    return real_->SetModified(path, modified_us);
  }

  Status Rename(const std::string& from, const std::string& to) override {
    if (Status status = faults_->Enter(FileCall::kRename); !status) return status;
    return real_->Rename(from, to);
  }

  Status Remove(const std::string& path) override {
    if (Status status = faults_->Enter(FileCall::kRemove); !status) return status;
    return real_->Remove(path);
  }

  Status MakeFolder(const std::string& path) override {
    if (Status status = faults_->Enter(FileCall::kMakeFolder); !status) return status;
    return real_->MakeFolder(path);
  }

  Status SyncFolder(const std::string& path) override {
    if (Status status = faults_->Enter(FileCall::kSync); !status) return status;
    return real_->SyncFolder(path);
  }

  Result<std::vector<std::string>> List(const std::string& path) override {
    if (Status status = faults_->Enter(FileCall::kList); !status) return status.error();
    return real_->List(path);
  }

  Result<std::vector<ListedFile>> ListFiles(const std::string& path) override {
    return real_->ListFiles(path);
  }

  bool OnNetwork(const std::string& path) override { return real_->OnNetwork(path); }

 private:
  std::shared_ptr<Faults> faults_;
  std::unique_ptr<FileSystem> real_;
};

std::unique_ptr<FileSystem> MakeFaultyFiles(std::shared_ptr<Faults> faults,
                                            std::unique_ptr<FileSystem> real) {
  return std::make_unique<FaultyFiles>(std::move(faults), std::move(real));
}

}  // namespace esa::testing
