#include "store/posix/io_queue.h"

#include <utility>

namespace esa {
namespace {

class SynchronousQueue final : public IoQueue {
 public:
  bool HasRoom() const override { return ended_ == nullptr; }

  void Start(IoRequest* request) override {
    RunSynchronously(request);
    ended_ = request;
  }

  IoRequest* Next(std::chrono::milliseconds) override { return std::exchange(ended_, nullptr); }

 private:
  IoRequest* ended_ = nullptr;
};

// Takes what was moved off the front; how many pieces are left.
std::size_t Advance(std::vector<iovec>* pieces, std::size_t moved) {
  std::size_t whole = 0;
  while (whole < pieces->size() && (*pieces)[whole].iov_len <= moved) {
    moved -= (*pieces)[whole++].iov_len;
  }
  pieces->erase(pieces->begin(), pieces->begin() + static_cast<std::ptrdiff_t>(whole));
  if (moved > 0) {
    iovec& first = pieces->front();
    first.iov_base = static_cast<std::byte*>(first.iov_base) + moved;
    first.iov_len -= moved;
  }
  return pieces->size();
}

}  // namespace

void RegisteredMemory::Add(std::span<std::byte> memory) {
  std::lock_guard lock(mutex_);
  regions_.push_back({memory.data(), memory.size()});
}

std::vector<iovec> RegisteredMemory::Regions() const {
  std::lock_guard lock(mutex_);
  return regions_;
}

std::unique_ptr<IoQueue> MakeSynchronousQueue() { return std::make_unique<SynchronousQueue>(); }

bool Settle(IoRequest* request, Result<std::size_t> moved) {
  if (!moved) {
    request->status = moved.error();
    return true;
  }
  if (*moved == 0) {
    const std::string at = std::string(request->path) + ": ";
    request->status = request->write
                          ? IoError(at + "write: no byte was taken")
                          : DataError(at + "ends at byte " + std::to_string(request->offset));
    return true;
  }
  request->offset += *moved;
  if (Advance(&request->pieces, *moved) > 0) return false;
  if (!request->write) request->status = request->file->StillThere();
  return true;
}

void RunSynchronously(IoRequest* request) {
  for (bool ended = request->pieces.empty(); !ended;) {
    File& file = *request->file;
    ended = Settle(request, request->write ? file.WritePieces(request->offset, request->pieces)
                                           : file.ReadPieces(request->offset, request->pieces));
  }
}

}  // namespace esa
