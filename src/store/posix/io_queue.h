// Requests of one thread to the disk, many under way at once.
//
// Threading: a queue is made, used and destroyed by one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "esa/config.h"
#include "esa/result.h"
#include "store/posix/file_system.h"

namespace esa {

// One contiguous range of one file, in pieces of memory.
struct IoRequest {
  std::shared_ptr<File> file;
  std::string_view path;  // for errors; outlives the request
  bool write = false;
  std::uint64_t offset = 0;
  std::vector<iovec> pieces;  // used up by the way

  // Once it has ended: all of the range was moved, or why not. kDataError: the file ends before.
  Status status;
};

// Memory that most requests lie in, for queues to register with the kernel. Thread-safe.
class RegisteredMemory {
 public:
  void Add(std::span<std::byte> memory);
  std::vector<iovec> Regions() const;

 private:
  mutable std::mutex mutex_;
  std::vector<iovec> regions_;  // guarded by mutex_
};

class IoQueue {
 public:
  virtual ~IoQueue() = default;  // nothing may be under way

  // Room for one more request?
  virtual bool HasRoom() const = 0;

  // Starts a request, which must stay where it is until Next returns it. Needs room.
  virtual void Start(IoRequest* request) = 0;

  // Hands over what was started; Next does so too.
  virtual void Submit() {}

  // A request that has ended. Null: none of those under way has ended in this time.
  virtual IoRequest* Next(std::chrono::milliseconds patience) = 0;
};

// Moves each request as it is started, by preadv and pwritev.
std::unique_ptr<IoQueue> MakeSynchronousQueue();

// io_uring. Error: the kernel refuses it.
Result<std::unique_ptr<IoQueue>> MakeUringQueue(int depth, const RegisteredMemory& memory);

bool UringWorks();  // probed once

// Moves all of a request by calls of its file.
void RunSynchronously(IoRequest* request);

// Takes note that a call has moved so much of a request, or failed. True: the request has ended.
bool Settle(IoRequest* request, Result<std::size_t> moved);

}  // namespace esa
