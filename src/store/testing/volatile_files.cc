#include "store/testing/volatile_files.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/random.h"

namespace esa::testing {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kSector = 512;

struct Node {
  using Names = std::map<std::string, std::shared_ptr<Node>>;

  // One change to a folder's names; a null node removes the name.
  struct Change {
    std::string name;
    std::shared_ptr<Node> node;
    bool with_next = false;  // one half of a rename, whose other half follows
  };

  bool folder = false;
  std::int64_t modified_us = 0;
  std::int64_t kept_modified_us = 0;

  // Of a folder: its names now, and those of the last sync with the changes since.
  Names names;
  Names kept_names;
  std::vector<Change> changes;

  // Of a file: its bytes now, and those of the last sync with the pages written since.
  std::vector<std::byte> bytes;
  std::vector<std::byte> kept_bytes;
  std::set<std::size_t> dirty;
  bool locked = false;
};

using NodePtr = std::shared_ptr<Node>;

std::pair<std::string, std::string> SplitPath(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  ESA_CHECK(slash != std::string::npos);
  return {path.substr(0, slash), path.substr(slash + 1)};
}

void SetName(Node& folder, const std::string& name, NodePtr node, bool with_next = false) {
  if (node == nullptr) {
    folder.names.erase(name);
  } else {
    folder.names[name] = node;
  }
  folder.changes.push_back({name, std::move(node), with_next});
}

void Apply(const Node::Change& change, Node::Names* names) {
  if (change.node == nullptr) {
    names->erase(change.name);
  } else {
    (*names)[change.name] = change.node;
  }
}

Node::Names SurvivingNames(const Node& folder, LossModel model, SplitMix64& random) {
  Node::Names names = folder.kept_names;
  std::size_t prefix = random.Below(folder.changes.size() + 1);
  if (prefix > 0 && folder.changes[prefix - 1].with_next) --prefix;
  for (std::size_t i = 0; i < folder.changes.size(); ++i) {
    const bool survives = model == LossModel::kOrdered ? i < prefix : random.Below(2) == 0;
    if (survives) Apply(folder.changes[i], &names);
  }
  return names;
}

std::vector<std::byte> SurvivingBytes(const Node& file, SplitMix64& random) {
  std::vector<std::byte> bytes = file.kept_bytes;
  const std::size_t lengths[] = {file.kept_bytes.size(), file.bytes.size(), file.bytes.size(),
                                 random.Below(file.bytes.size() / kPage + 1) * kPage};
  // What was synced may be cut only by a change of length since, which no store makes.
  bytes.resize(std::max(lengths[random.Below(4)], file.kept_bytes.size()));
  for (const std::size_t page : file.dirty) {
    const std::size_t begin = page * kPage;
    const std::size_t end = std::min(bytes.size(), begin + kPage);
    if (begin >= end) continue;
    if (begin < file.kept_bytes.size()) {  // overwritten: sectors old or new
      for (std::size_t at = begin; at < end; at += kSector) {
        const std::size_t size = std::min(kSector, end - at);
        if (random.Below(2) == 0) std::memcpy(bytes.data() + at, file.bytes.data() + at, size);
      }
      continue;
    }
    const auto fate = random.Below(4);
    const std::size_t torn = std::min(end - begin, (1 + random.Below(7)) * kSector);
    const std::size_t taken = fate == 0 ? end - begin : fate == 1 ? torn : 0;
    if (taken > 0) std::memcpy(bytes.data() + begin, file.bytes.data() + begin, taken);
    if (fate == 2) std::memset(bytes.data() + begin, 0, end - begin);
  }
  return bytes;
}

// What a power loss makes of a node and of all below it. A file with two names stays one file.
class Survivors {
 public:
  Survivors(LossModel model, std::uint64_t seed) : model_(model), random_(seed) {}

  NodePtr Of(const NodePtr& node) {
    NodePtr& made = made_[node.get()];
    if (made != nullptr) return made;
    made = std::make_shared<Node>();
    const NodePtr result = made;
    result->folder = node->folder;
    result->modified_us = random_.Below(2) == 0 ? node->modified_us : node->kept_modified_us;
    result->kept_modified_us = result->modified_us;
    if (node->folder) {
      for (const auto& [name, child] : SurvivingNames(*node, model_, random_)) {
        result->names[name] = Of(child);
      }
      result->kept_names = result->names;
    } else {
      result->bytes = SurvivingBytes(*node, random_);
      result->kept_bytes = result->bytes;
    }
    return result;
  }

 private:
  const LossModel model_;
  SplitMix64 random_;
  std::map<const Node*, NodePtr> made_;
};

void SyncAll(Node& node) {
  node.kept_modified_us = node.modified_us;
  node.kept_names = node.names;
  node.changes.clear();
  node.kept_bytes = node.bytes;
  node.dirty.clear();
  for (const auto& child : node.names) SyncAll(*child.second);
}

void ListFiles(const Node& folder, const std::string& path, std::vector<std::string>* to) {
  for (const auto& [name, child] : folder.names) {
    const std::string below = path + "/" + name;
    if (child->folder) {
      ListFiles(*child, below, to);
    } else {
      to->push_back(below);
    }
  }
}

Error Gone(const std::string& path) { return NotFound(path + ": No such file or directory"); }

}  // namespace

// The disk between two restarts.
struct VolatileDisk::Tree {
  std::mutex mutex;  // guards all below and every node
  std::condition_variable unlocked;
  NodePtr root = std::make_shared<Node>();
  std::uint64_t calls = 0;
  std::uint64_t calls_left = std::numeric_limits<std::uint64_t>::max();
  std::int64_t clock_us = 1000000;
  bool off = false;
  std::function<bool(const std::string&)> ignored;

  // All hold the mutex.
  Status Powered() const { return off ? Status(IoError("the disk has no power")) : Status(); }
  Status EnterChange() {
    if (calls_left == 0) off = true;
    if (off) return Powered();
    --calls_left;
    ++calls;
    return {};
  }
  NodePtr Find(const std::string& path) const {
    NodePtr node = root;
    for (std::size_t at = 0; at < path.size();) {
      const std::size_t begin = at + 1;  // behind a slash
      at = std::min(path.find('/', begin), path.size());
      if (begin == at) continue;
      const auto found = node->names.find(path.substr(begin, at - begin));
      if (found == node->names.end()) return nullptr;
      node = found->second;
    }
    return node;
  }
  NodePtr FindFolder(const std::string& path) const {
    NodePtr node = Find(path);
    return node != nullptr && node->folder ? node : nullptr;
  }
  NodePtr NewNode(bool folder) {
    auto node = std::make_shared<Node>();
    node->folder = folder;
    node->modified_us = node->kept_modified_us = ++clock_us;
    return node;
  }
};

class VolatileFile final : public File {
 public:
  VolatileFile(std::shared_ptr<VolatileDisk::Tree> tree, NodePtr node, std::string path, bool lock)
      : tree_(std::move(tree)), node_(std::move(node)), path_(std::move(path)), lock_(lock) {}

  ~VolatileFile() override { Unlock(); }

  Result<bool> TryLock() override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->Powered(); !on) return on.error();
    if (lock_ || node_->locked) return lock_;
    node_->locked = lock_ = true;
    return true;
  }

  void Unlock() override {
    std::lock_guard lock(tree_->mutex);
    if (!std::exchange(lock_, false)) return;
    node_->locked = false;
    tree_->unlocked.notify_all();
  }

  Result<std::size_t> Read(std::uint64_t offset, std::span<std::byte> to) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->Powered(); !on) return on.error();
    const std::vector<std::byte>& bytes = node_->bytes;
    if (offset >= bytes.size()) return std::size_t{0};
    const std::size_t moved = std::min<std::size_t>(to.size(), bytes.size() - offset);
    std::memcpy(to.data(), bytes.data() + offset, moved);
    return moved;
  }

  Result<std::size_t> Write(std::uint64_t offset, std::span<const std::byte> from) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->EnterChange(); !on) return on.error();
    std::vector<std::byte>& bytes = node_->bytes;
    if (bytes.size() < offset + from.size()) bytes.resize(offset + from.size());
    std::memcpy(bytes.data() + offset, from.data(), from.size());
    for (std::size_t page = offset / kPage; page * kPage < offset + from.size(); ++page) {
      node_->dirty.insert(page);
    }
    node_->modified_us = ++tree_->clock_us;
    return from.size();
  }

  Status Allocate(std::uint64_t bytes) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->EnterChange(); !on) return on;
    if (node_->bytes.size() < bytes) node_->bytes.resize(bytes);
    return {};
  }

  Status Sync() override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->EnterChange(); !on) return on;
    if (tree_->ignored && tree_->ignored(path_)) return {};
    node_->kept_bytes = node_->bytes;
    node_->dirty.clear();
    return {};
  }

  Result<std::uint64_t> Size() override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->Powered(); !on) return on.error();
    return node_->bytes.size();
  }

  void WillNeed(std::uint64_t, std::uint64_t) override {}

 private:
  const std::shared_ptr<VolatileDisk::Tree> tree_;
  const NodePtr node_;
  const std::string path_;
  bool lock_;  // guarded by the tree's mutex
};

class VolatileFiles final : public FileSystem {
 public:
  explicit VolatileFiles(std::shared_ptr<VolatileDisk::Tree> tree) : tree_(std::move(tree)) {}

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenOptions options) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->Powered(); !on) return on.error();
    NodePtr node = tree_->Find(path);
    if (options.mode == OpenMode::kCreate) {
      if (node != nullptr) return IoError(path + ": open: File exists");
      auto made = Create(path);
      if (!made) return made.error();
      node = *std::move(made);
    }
    if (node == nullptr) return Gone(path);
    if (node->folder) return IoError(path + ": open: Is a directory");
    return std::unique_ptr<File>(new VolatileFile(tree_, node, path, false));
  }

  Result<std::unique_ptr<File>> Lock(const std::string& path, bool wait) override {
    std::unique_lock lock(tree_->mutex);
    if (Status on = tree_->Powered(); !on) return on.error();
    NodePtr node = tree_->Find(path);
    if (node == nullptr) {
      auto made = Create(path);
      if (!made) return made.error();
      node = *std::move(made);
    }
    if (wait) tree_->unlocked.wait(lock, [&] { return !node->locked || tree_->off; });
    if (node->locked) return std::unique_ptr<File>();
    node->locked = true;
    return std::unique_ptr<File>(new VolatileFile(tree_, node, path, true));
  }

  Result<PathInfo> Stat(const std::string& path) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->Powered(); !on) return on.error();
    const NodePtr node = tree_->Find(path);
    if (node == nullptr) return Gone(path);
    return PathInfo{.folder = node->folder,
                    .mode = node->folder ? 0700u : 0600u,
                    .owner = geteuid(),
                    .bytes = node->bytes.size(),
                    .modified_us = node->modified_us};
  }

  Status SetModified(const std::string& path, std::int64_t modified_us) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->EnterChange(); !on) return on;
    const NodePtr node = tree_->Find(path);
    if (node == nullptr) return Gone(path);
    node->modified_us = modified_us;
    return {};
  }

  Status Rename(const std::string& from, const std::string& to) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->EnterChange(); !on) return on;
    const auto [from_folder, from_name] = SplitPath(from);
    const auto [to_folder, to_name] = SplitPath(to);
    const NodePtr node = tree_->Find(from);
    const NodePtr target = tree_->FindFolder(to_folder);
    if (node == nullptr || target == nullptr) return Gone(node == nullptr ? from : to);
    SetName(*tree_->FindFolder(from_folder), from_name, nullptr, from_folder == to_folder);
    SetName(*target, to_name, node);
    return {};
  }

  Status Remove(const std::string& path) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->EnterChange(); !on) return on;
    const NodePtr node = tree_->Find(path);
    if (node == nullptr) return Gone(path);
    if (node->folder) return IoError(path + ": remove: Is a directory");
    const auto [folder, name] = SplitPath(path);
    SetName(*tree_->FindFolder(folder), name, nullptr);
    return {};
  }

  Status MakeFolder(const std::string& path) override {
    std::lock_guard lock(tree_->mutex);
    for (std::size_t end = 0; end < path.size();) {
      end = std::min(path.find('/', end + 1), path.size());
      if (tree_->Find(path.substr(0, end)) != nullptr) continue;
      if (Status on = tree_->EnterChange(); !on) return on;
      const auto [folder, name] = SplitPath(path.substr(0, end));
      const NodePtr parent = tree_->FindFolder(folder);
      if (parent == nullptr) return IoError(folder + ": create folder: Not a directory");
      SetName(*parent, name, tree_->NewNode(true));
    }
    return tree_->Powered();
  }

  Status SyncFolder(const std::string& path) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->EnterChange(); !on) return on;
    const NodePtr node = tree_->FindFolder(path == "/" ? "" : path);
    if (node == nullptr) return Gone(path);
    if (tree_->ignored && tree_->ignored(path)) return {};
    node->kept_names = node->names;
    node->changes.clear();
    return {};
  }

  Result<std::vector<std::string>> List(const std::string& path) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->Powered(); !on) return on.error();
    const NodePtr node = tree_->FindFolder(path);
    if (node == nullptr) return Gone(path);
    std::vector<std::string> names;
    for (const auto& entry : node->names) names.push_back(entry.first);
    return names;
  }

  Result<std::vector<ListedFile>> ListFiles(const std::string& path) override {
    std::lock_guard lock(tree_->mutex);
    if (Status on = tree_->Powered(); !on) return on.error();
    const NodePtr node = tree_->FindFolder(path);
    if (node == nullptr) return Gone(path);
    std::vector<ListedFile> files;
    for (const auto& [name, file] : node->names) {
      if (file->folder) continue;
      files.push_back(
          {.name = name, .bytes = file->bytes.size(), .modified_us = file->modified_us});
    }
    return files;
  }

  bool OnNetwork(const std::string&) override { return false; }

 private:
  // Holds the mutex.
  Result<NodePtr> Create(const std::string& path) {
    if (Status on = tree_->EnterChange(); !on) return on.error();
    const auto [folder, name] = SplitPath(path);
    const NodePtr parent = tree_->FindFolder(folder);
    if (parent == nullptr) return Gone(path);
    NodePtr node = tree_->NewNode(false);
    SetName(*parent, name, node);
    return node;
  }

  const std::shared_ptr<VolatileDisk::Tree> tree_;
};

VolatileDisk::VolatileDisk() : tree_(std::make_shared<Tree>()) { tree_->root->folder = true; }

std::unique_ptr<FileSystem> VolatileDisk::Files() const {
  return std::make_unique<VolatileFiles>(tree_);
}

void VolatileDisk::CutPowerAfter(std::uint64_t calls) {
  std::lock_guard lock(tree_->mutex);
  tree_->calls_left = calls;
}

std::uint64_t VolatileDisk::calls() const {
  std::lock_guard lock(tree_->mutex);
  return tree_->calls;
}

void VolatileDisk::Restart(std::uint64_t seed, LossModel model) {
  const std::shared_ptr<Tree> old = std::exchange(tree_, std::make_shared<Tree>());
  std::lock_guard lock(old->mutex);
  old->off = true;
  old->unlocked.notify_all();
  tree_->root = Survivors(model, seed).Of(old->root);
  tree_->clock_us = old->clock_us;
  tree_->ignored = old->ignored;
}

void VolatileDisk::RestartSynced() {
  {
    std::lock_guard lock(tree_->mutex);
    SyncAll(*tree_->root);
  }
  Restart(0, LossModel::kOrdered);
}

void VolatileDisk::IgnoreSyncs(std::function<bool(const std::string&)> ignored) {
  std::lock_guard lock(tree_->mutex);
  tree_->ignored = std::move(ignored);
}

std::vector<std::string> VolatileDisk::Paths() const {
  std::lock_guard lock(tree_->mutex);
  std::vector<std::string> paths;
  ListFiles(*tree_->root, "", &paths);
  return paths;
}

std::vector<std::byte> VolatileDisk::Content(const std::string& path) const {
  std::lock_guard lock(tree_->mutex);
  const NodePtr node = tree_->Find(path);
  ESA_CHECK(node != nullptr);
  return node->bytes;
}

void VolatileDisk::Put(const std::string& path, std::vector<std::byte> bytes) {
  std::lock_guard lock(tree_->mutex);
  NodePtr node = tree_->Find(path);
  if (node == nullptr) {
    node = tree_->NewNode(false);
    const auto [folder, name] = SplitPath(path);
    SetName(*tree_->FindFolder(folder), name, node);
  }
  node->bytes = std::move(bytes);
  SyncAll(*node);
}

}  // namespace esa::testing
