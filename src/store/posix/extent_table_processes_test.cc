// Several processes on the table of extents of one folder: no cell is two files', and nothing
// wrong is read.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "store/testing/store_fixture.h"
#include "store/testing/table_names.h"

namespace esa::testing {
namespace {

constexpr std::uint64_t kShared = 16;  // blocks that all processes make and remove
constexpr std::uint64_t kOwn = 24;     // that one of them does
constexpr std::uint64_t kProcesses = 4;
constexpr int kSteps = 5000;

// What one of several processes does to a folder: makes, replaces and removes its own blocks and
// those that all share, and reads everyone's.
class Worker {
 public:
  Worker(const std::string& folder, std::uint64_t process)
      : folder_(folder), process_(process), random_(process), table_(*files_, {.folder = folder}) {}

  struct Said {
    std::uint64_t own = 0;  // a bit for each of its own that stands at the end
    std::uint64_t wrong = 0;
    std::uint64_t read = 0;
  };

  Said Run() {
    for (int i = 0; i < kSteps; ++i) {
      const std::uint64_t number = Own(random_.Below(kShared + kOwn));
      const std::uint64_t action = random_.Below(8);
      if (action < 2) {
        Make(number);
      } else if (action == 2) {
        Remove(number);
      } else {
        Read(random_.Below(kShared + kProcesses * kOwn));
      }
    }
    return said_;
  }

 private:
  std::uint64_t Own(std::uint64_t i) const { return i < kShared ? i : i + process_ * kOwn; }
  void Note(std::uint64_t number, bool stands) {
    if (number < kShared) return;
    const std::uint64_t bit = std::uint64_t{1} << (number - kShared - process_ * kOwn);
    said_.own = stands ? said_.own | bit : said_.own & ~bit;
  }

  // Says whose it is, all over.
  static std::string Content(std::uint64_t number) {
    std::string content;
    while (content.size() < 4096 * (1 + number % 2)) content += Block(number).Text();
    content.resize(4096 * (1 + number % 2));
    return content;
  }

  void Make(std::uint64_t number) {
    const std::string content = Content(number);
    std::string ending = ".tmp";
    ending.insert(1, std::to_string(process_) + "-" + std::to_string(++made_) + ".");
    const PackedName temporary{Block(number).id, ending};
    const auto cell = table_.Allocate(temporary, content.size());
    ESA_CHECK(cell.ok());
    const std::string path = ExtentPath(folder_, cell->serial);
    const auto file = files_->Open(path, {.mode = OpenMode::kWrite});
    ESA_CHECK(file.ok());
    ESA_CHECK(WriteFully(**file, path, cell->offset, std::as_bytes(std::span(content))).ok());
    ESA_CHECK(table_.Rename(temporary, Block(number)).ok());
    Note(number, true);
  }

  void Remove(std::uint64_t number) {
    const Status removed = table_.Remove(Block(number));
    ESA_CHECK(removed.ok() || removed.error().code == ErrorCode::kNotFound);
    Note(number, false);
  }

  void Read(std::uint64_t number) {
    // Every second time where it was some while ago, as whoever has the file open.
    const bool again = found_.contains(number) && random_.Below(2) == 0;
    const auto cell = again ? Result<Cell>(found_[number]) : table_.Find(Block(number));
    if (!cell) return;
    found_.insert_or_assign(number, *cell);
    const std::string path = ExtentPath(folder_, cell->serial);
    const auto file = files_->Open(path, {});
    ESA_CHECK(file.ok());
    std::string content(cell->bytes, '\0');
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(content));
    ESA_CHECK(ReadFully(**file, path, cell->offset, bytes).ok());
    if (!table_.StillThere(*cell)) return;
    ++said_.read;
    said_.wrong += content == Content(number) ? 0 : 1;
  }

  const std::unique_ptr<FileSystem> files_ = MakeRealFileSystem();
  const std::string folder_;
  const std::uint64_t process_;
  SplitMix64 random_;
  ExtentTable table_;
  std::uint64_t made_ = 0;
  std::map<std::uint64_t, Cell> found_;
  Said said_;
};

// Runs a worker in a process of its own, which ends with it; the end of the pipe that tells.
int Start(const std::string& folder, std::uint64_t process) {
  int ends[2];
  ESA_CHECK(pipe(ends) == 0);
  if (fork() == 0) {
    const Worker::Said said = Worker(folder, process).Run();
    ESA_CHECK(write(ends[1], &said, sizeof(said)) == sizeof(said));
    _exit(0);
  }
  close(ends[1]);
  return ends[0];
}

TEST(ExtentTableProcesses, ReadNothingWrong) {
  const TemporaryFolder folder;
  int pipes[kProcesses];
  for (std::uint64_t i = 0; i < kProcesses; ++i) pipes[i] = Start(folder.path(), i);
  std::vector<PackedName> names;
  for (std::uint64_t i = 0; i < kProcesses; ++i) {
    Worker::Said said;
    ASSERT_EQ(read(pipes[i], &said, sizeof(said)), static_cast<ssize_t>(sizeof(said)));
    close(pipes[i]);
    EXPECT_EQ(said.wrong, 0u);
    EXPECT_GT(said.read, 0u);
    for (std::uint64_t own = 0; own < kOwn; ++own) {
      if ((said.own >> own) % 2 == 1) names.push_back(Block(kShared + i * kOwn + own));
    }
  }
  while (wait(nullptr) > 0) {
  }
  const auto files = MakeRealFileSystem();
  ExtentTable table(*files, {.folder = folder.path()});
  for (std::uint64_t i = 0; i < kShared; ++i) (void)table.Remove(Block(i));
  EXPECT_EQ(Names(table), Sorted(names));
}

}  // namespace
}  // namespace esa::testing
