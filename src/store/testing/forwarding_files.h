// The real file system, for tests that override some of its methods.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/posix/file_system.h"

namespace esa::testing {

class ForwardingFiles : public FileSystem {
 public:
  Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) override {
    return real_->Open(path, options);
  }
  Result<std::unique_ptr<File>> Lock(const std::string& path, bool wait) override {
    return real_->Lock(path, wait);
  }
  Result<PathInfo> Stat(const std::string& path) override { return real_->Stat(path); }
  Status SetModified(const std::string& path, std::int64_t modified_us) override {
    return real_->SetModified(path, modified_us);
  }
  Status Rename(const std::string& from, const std::string& to) override {
    return real_->Rename(from, to);
  }
  Status Remove(const std::string& path) override { return real_->Remove(path); }
  Status MakeFolder(const std::string& path) override { return real_->MakeFolder(path); }
  Status SyncFolder(const std::string& path) override { return real_->SyncFolder(path); }
  Result<std::vector<std::string>> List(const std::string& path) override {
    return real_->List(path);
  }
  Result<std::vector<ListedFile>> ListFiles(const std::string& path) override {
    return real_->ListFiles(path);
  }
  bool OnNetwork(const std::string& path) override { return real_->OnNetwork(path); }

 private:
  const std::unique_ptr<FileSystem> real_ = MakeRealFileSystem();
};

}  // namespace esa::testing
