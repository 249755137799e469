// Queues to the disk: io_uring, where the kernel has it, and the one without.
#include "store/posix/io_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <list>

#include "store/posix/aligned_bytes.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kPage = 4096;

class IoQueueTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!GetParam()) {
      queue_ = MakeSynchronousQueue();
      return;
    }
    if (!UringWorks()) GTEST_SKIP() << "the kernel refuses io_uring";
    auto queue = MakeUringQueue(4, memory_);
    ASSERT_TRUE(queue.ok()) << queue.error().message;
    queue_ = *std::move(queue);
  }

  std::shared_ptr<File> Open(OpenMode mode, bool direct) {
    auto file = files_->Open(path_, {.mode = mode, .direct = direct});
    EXPECT_TRUE(file.ok()) << file.error().message;
    return *std::move(file);
  }

  IoRequest Request(std::shared_ptr<File> file, bool write, std::uint64_t offset,
                    std::vector<std::span<std::byte>> pieces) const {
    IoRequest request;
    request.file = std::move(file);
    request.path = path_;
    request.write = write;
    request.offset = offset;
    for (const auto& piece : pieces) request.pieces.push_back({piece.data(), piece.size()});
    return request;
  }

  // Starts as many as there is room for, until all have ended.
  void RunAll(std::list<IoRequest>& requests) {
    std::size_t ended = 0;
    auto next = requests.begin();
    while (ended < requests.size()) {
      while (next != requests.end() && queue_->HasRoom()) queue_->Start(&*next++);
      if (queue_->Next(milliseconds(1000)) != nullptr) ++ended;
    }
    EXPECT_EQ(queue_->Next(milliseconds(0)), nullptr);
  }

  Status Run(IoRequest request) {
    std::list<IoRequest> one;
    one.push_back(std::move(request));
    RunAll(one);
    return one.front().status;
  }

  static std::vector<std::byte> Pattern(std::size_t bytes, unsigned seed) {
    std::vector<std::byte> pattern(bytes);
    for (std::size_t i = 0; i < bytes; ++i) {
      pattern[i] = static_cast<std::byte>((i * 31 + i / kPage * 7 + seed) & 0xff);
    }
    return pattern;
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.path() + "/file";
  const std::unique_ptr<FileSystem> files_ = MakeRealFileSystem();
  RegisteredMemory memory_;
  std::unique_ptr<IoQueue> queue_;
};

TEST_P(IoQueueTest, MovesManyRequestsOfManyPieces) {
  constexpr std::size_t kRequests = 25;  // more than a queue takes
  for (const bool direct : {false, true}) {
    AlignedBytes from(kRequests * 3 * kPage), to(kRequests * 3 * kPage);
    memory_.Add(from.span());  // before and after the first request: both are to be seen
    std::ranges::copy(Pattern(from.span().size(), direct ? 1 : 2), from.data());
    const auto written = Open(direct ? OpenMode::kWrite : OpenMode::kCreate, direct);
    for (const bool write : {true, false}) {
      AlignedBytes& memory = write ? from : to;
      std::list<IoRequest> requests;
      for (std::size_t i = 0; i < kRequests; ++i) {
        const auto part = memory.span().subspan(i * 3 * kPage, 3 * kPage);
        // One piece, or three that lie in memory the other way round.
        requests.push_back(i % 2 == 0 ? Request(written, write, i * 3 * kPage, {part})
                                      : Request(written, write, i * 3 * kPage,
                                                {part.subspan(2 * kPage),
                                                 part.subspan(kPage, kPage), part.first(kPage)}));
      }
      RunAll(requests);
      for (const IoRequest& request : requests) {
        EXPECT_TRUE(request.status.ok()) << request.status.error().message;
      }
      memory_.Add(to.span());
    }
    EXPECT_TRUE(std::ranges::equal(from.span(), to.span()));
  }
}

TEST_P(IoQueueTest, SaysWhereAFileEnds) {
  AlignedBytes bytes(2 * kPage);
  const auto file = Open(OpenMode::kCreate, false);
  ASSERT_TRUE(Run(Request(file, true, 0, {bytes.span().first(kPage + 100)})).ok());
  const Status read = Run(Request(file, false, 0, {bytes.span()}));
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kDataError);
  EXPECT_THAT(read.error().message, ::testing::HasSubstr(path_ + ": ends at byte 4196"));
}

TEST_P(IoQueueTest, GivesTheErrorsOfTheSystem) {
  AlignedBytes bytes(kPage);
  ASSERT_TRUE(Run(Request(Open(OpenMode::kCreate, false), true, 0, {bytes.span()})).ok());
  const Status written = Run(Request(Open(OpenMode::kRead, true), true, 0, {bytes.span()}));
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kIoError);
  EXPECT_THAT(written.error().message, ::testing::HasSubstr(path_ + ": write: "));
}

TEST_P(IoQueueTest, CopiesWhatDirectIoRefuses) {
  AlignedBytes bytes(2 * kPage), to(2 * kPage);
  std::ranges::copy(Pattern(2 * kPage, 3), bytes.data());
  const auto file = Open(OpenMode::kCreate, true);
  ASSERT_TRUE(Run(Request(file, true, 0, {bytes.span()})).ok());
  const auto odd = to.span().subspan(8, kPage + 17);
  ASSERT_TRUE(Run(Request(file, false, 100, {odd})).ok());
  EXPECT_TRUE(std::ranges::equal(odd, bytes.span().subspan(100, kPage + 17)));
}

INSTANTIATE_TEST_SUITE_P(Queues, IoQueueTest, ::testing::Bool(),
                         [](const auto& queue) { return queue.param ? "Uring" : "Synchronous"; });

}  // namespace
}  // namespace esa::testing
