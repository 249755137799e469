// VerifyFolder: several threads read, one after the other says how far they are.
#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "base/status_macros.h"
#include "store/posix/block_verifier.h"
#include "store/posix/file_names.h"
#include "store/posix/folder.h"
#include "store/posix/folder_listing.h"
#include "store/posix/maintenance.h"
#include "store/posix/packed_files.h"
#include "store/store_maintenance.h"

namespace esa {
namespace {

VerifyReport::Fault FaultOf(BlockState state) {
  if (state == BlockState::kForeign) return VerifyReport::Fault::kForeign;
  if (state == BlockState::kUnreadable) return VerifyReport::Fault::kUnreadable;
  return VerifyReport::Fault::kCorrupt;
}

class FolderVerifier {
 public:
  // quarantine: where corrupt blocks go, may be null.
  FolderVerifier(FileSystem& files, std::string path, FolderListing listing,
                 const VerifyOptions& options, Folder* quarantine)
      : files_(files),
        path_(std::move(path)),
        listing_(std::move(listing)),
        options_(options),
        quarantine_(quarantine) {
    for (const FolderListing::BlockFile& block : listing_.blocks) total_bytes_ += block.bytes;
  }

  VerifyReport Run() {
    {
      std::vector<std::jthread> threads;
      for (int i = 1; i < options_.threads; ++i) threads.emplace_back([this] { Work(); });
      Work();
    }
    std::lock_guard lock(mutex_);
    std::ranges::sort(report_.findings, {}, &VerifyReport::Finding::id);
    return std::move(report_);
  }

 private:
  void Work() {
    BlockVerifier verifier(files_);
    for (;;) {
      const std::size_t i = next_.fetch_add(1);
      if (i >= listing_.blocks.size()) return;
      const FolderListing::BlockFile& block = listing_.blocks[i];
      Take(block, verifier.Verify(BlockPath(path_, block.id), block.id));
    }
  }

  void Take(const FolderListing::BlockFile& block, BlockVerdict verdict) {
    std::lock_guard lock(mutex_);
    done_bytes_ += block.bytes;
    if (options_.on_progress) options_.on_progress(done_bytes_, total_bytes_);
    report_.read_bytes += verdict.read_bytes;
    if (verdict.state == BlockState::kGone) return;
    ++report_.blocks;
    if (verdict.state == BlockState::kIntact) return;
    const VerifyReport::Fault fault = FaultOf(verdict.state);
    if (fault == VerifyReport::Fault::kCorrupt) ++report_.corrupt;
    if (fault == VerifyReport::Fault::kForeign) ++report_.foreign;
    if (fault == VerifyReport::Fault::kUnreadable) ++report_.unreadable;
    const bool move = fault == VerifyReport::Fault::kCorrupt && quarantine_ != nullptr;
    report_.findings.push_back({.id = block.id,
                                .fault = fault,
                                .what = std::move(verdict.what),
                                .quarantined = move && Quarantine(block.id)});
  }

  // At once: later, a store may have written the block anew.
  bool Quarantine(const BlockId& id) {
    return quarantine_->Quarantine(id) && !quarantine_->Refused(id);
  }

  FileSystem& files_;
  const std::string path_;
  const FolderListing listing_;
  const VerifyOptions& options_;
  Folder* const quarantine_;
  std::uint64_t total_bytes_ = 0;
  std::atomic<std::size_t> next_{0};  // into listing_.blocks

  std::mutex mutex_;              // also lets one thread at a time report progress
  std::uint64_t done_bytes_ = 0;  // guarded by mutex_
  VerifyReport report_;           // guarded by mutex_
};

}  // namespace

Result<VerifyReport> VerifyFolder(const std::string& path, const VerifyOptions& options) {
  if (options.threads < 1) {
    return InvalidArgument("threads is " + std::to_string(options.threads) +
                           ", expected at least 1");
  }
  const std::unique_ptr<FileSystem> files =
      MakePackedFiles(MakeRealFileSystem(), {.look_only = !options.quarantine});
  ESA_ASSIGN_OR_RETURN(FolderListing listing, ListFolder(*files, path));
  std::unique_ptr<Folder> folder;
  if (options.quarantine) {
    ESA_ASSIGN_OR_RETURN(folder, OpenForMaintenance(*files, path, options.allow_shared_folder));
  }
  return FolderVerifier(*files, path, std::move(listing), options, folder.get()).Run();
}

}  // namespace esa
