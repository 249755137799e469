#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "base/check.h"
#include "store/posix/io_queue.h"

namespace esa {
namespace {

class UringQueue final : public IoQueue {
 public:
  UringQueue(int depth, const RegisteredMemory& memory)
      : depth_(static_cast<std::size_t>(depth)), memory_(memory) {}

  ~UringQueue() override {
    if (open_) io_uring_queue_exit(&ring_);
  }

  Status Open();

  bool HasRoom() const override { return running_ < depth_; }
  void Start(IoRequest* request) override;
  void Submit() override;
  IoRequest* Next(std::chrono::milliseconds patience) override;

 private:
  void Enqueue(IoRequest* request, const File::Target& target);
  void Complete(IoRequest* request, int result);
  void RegisterMemory();
  int RegionOf(const iovec& piece) const;  // -1: in none that is registered

  const std::size_t depth_;
  const RegisteredMemory& memory_;
  std::size_t seen_regions_ = 0;
  std::vector<iovec> regions_;  // registered with the ring
  io_uring ring_ = {};
  bool open_ = false;
  std::size_t running_ = 0;
  std::size_t unsubmitted_ = 0;  // of these
  std::deque<IoRequest*> ended_;
};

Status UringQueue::Open() {
  const auto entries = static_cast<unsigned>(depth_);
  // Completions are handled when this thread asks for them, not by interrupting it (Linux 6.1).
  int code =
      io_uring_queue_init(entries, &ring_, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  if (code == -EINVAL) code = io_uring_queue_init(entries, &ring_, 0);
  if (code < 0) return SystemError("io_uring", "set up", -code);
  open_ = true;
  return {};
}

// Pinned memory counts against RLIMIT_MEMLOCK; without room for it the kernel maps each request's
// pages as it comes.
void UringQueue::RegisterMemory() {
  std::vector<iovec> regions = memory_.Regions();
  if (regions.size() == seen_regions_) return;
  seen_regions_ = regions.size();
  if (!regions_.empty()) io_uring_unregister_buffers(&ring_);
  const int code =
      io_uring_register_buffers(&ring_, regions.data(), static_cast<unsigned>(regions.size()));
  regions_ = code == 0 ? std::move(regions) : std::vector<iovec>();
}

int UringQueue::RegionOf(const iovec& piece) const {
  const auto* first = static_cast<const std::byte*>(piece.iov_base);
  const auto found = std::ranges::find_if(regions_, [&](const iovec& region) {
    const auto* base = static_cast<const std::byte*>(region.iov_base);
    return first >= base && first + piece.iov_len <= base + region.iov_len;
  });
  return found == regions_.end() ? -1 : static_cast<int>(found - regions_.begin());
}

void UringQueue::Start(IoRequest* request) {
  if (running_ == 0) RegisterMemory();
  const std::optional<File::Target> target =
      request->file->TargetFor(request->offset, request->pieces, request->write);
  if (target && !request->pieces.empty()) return Enqueue(request, *target);
  RunSynchronously(request);
  ended_.push_back(request);
}

void UringQueue::Enqueue(IoRequest* request, const File::Target& target) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) {
    io_uring_submit(&ring_);
    unsubmitted_ = 0;
    entry = io_uring_get_sqe(&ring_);
  }
  ESA_CHECK(entry != nullptr);
  const std::vector<iovec>& pieces = request->pieces;
  const auto count = static_cast<unsigned>(pieces.size());
  const iovec& first = pieces.front();
  const auto bytes = static_cast<unsigned>(first.iov_len);
  const int region = count == 1 ? RegionOf(first) : -1;
  if (region >= 0 && request->write) {
    io_uring_prep_write_fixed(entry, target.descriptor, first.iov_base, bytes, target.offset,
                              region);
  } else if (region >= 0) {
    io_uring_prep_read_fixed(entry, target.descriptor, first.iov_base, bytes, target.offset,
                             region);
  } else if (request->write) {
    io_uring_prep_writev(entry, target.descriptor, pieces.data(), count, target.offset);
  } else {
    io_uring_prep_readv(entry, target.descriptor, pieces.data(), count, target.offset);
  }
  io_uring_sqe_set_data(entry, request);
  ++running_;
  ++unsubmitted_;
}

void UringQueue::Complete(IoRequest* request, int result) {
  --running_;
  switch (result) {
    case -EINTR:
    case -EAGAIN:
    case -EINVAL:
    case -EOPNOTSUPP:
      // What io_uring does not do, or not now, the plain calls do or say why not.
      RunSynchronously(request);
      break;
    default: {
      Result<std::size_t> moved = static_cast<std::size_t>(std::max(result, 0));
      if (result < 0) {
        moved = SystemError(std::string(request->path), request->write ? "write" : "read", -result);
      }
      if (Settle(request, std::move(moved))) break;
      return Start(request);
    }
  }
  ended_.push_back(request);
}

void UringQueue::Submit() {
  if (unsubmitted_ == 0) return;
  io_uring_submit(&ring_);
  unsubmitted_ = 0;
}

IoRequest* UringQueue::Next(std::chrono::milliseconds patience) {
  if (!ended_.empty()) Submit();
  if (ended_.empty() && running_ > 0) {
    __kernel_timespec limit{.tv_sec = patience.count() / 1000,
                            .tv_nsec = patience.count() % 1000 * 1'000'000};
    io_uring_cqe* first = nullptr;
    unsubmitted_ = 0;
    (void)io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring_, &entry) == 0) {
      auto* request = static_cast<IoRequest*>(io_uring_cqe_get_data(entry));
      const int result = entry->res;
      io_uring_cqe_seen(&ring_, entry);
      if (request != nullptr) Complete(request, result);
    }
  }
  if (ended_.empty()) return nullptr;
  IoRequest* request = ended_.front();
  ended_.pop_front();
  return request;
}

}  // namespace

bool UringWorks() {
  static const bool works = [] {
    const RegisteredMemory none;
    return UringQueue(1, none).Open().ok();
  }();
  return works;
}

Result<std::unique_ptr<IoQueue>> MakeUringQueue(int depth, const RegisteredMemory& memory) {
  auto queue = std::make_unique<UringQueue>(depth, memory);
  if (Status opened = queue->Open(); !opened) return opened.error();
  return std::unique_ptr<IoQueue>(std::move(queue));
}

}  // namespace esa
