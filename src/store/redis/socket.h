// A stream socket to a Redis server on which no wait is endless: each ends at the deadline that the
// caller gave, or when the alarm rings.
//
// Threading: an Alarm is rung from any thread; a Socket belongs to one thread at a time.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <string>

#include "esa/block_store.h"
#include "esa/result.h"
#include "store/redis/url.h"

namespace esa {

// Owns a descriptor.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(other.Release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int get() const { return value_; }

 private:
  int Release();
  int value_;
};

// Once rung, it ends every wait on the sockets that know it, now and later.
class Alarm {
 public:
  Alarm();
  void Ring();
  int descriptor() const { return descriptor_.get(); }

 private:
  Descriptor descriptor_;
};

class Socket {
 public:
  using Deadline = BlockStore::Deadline;

  // `alarm` outlives the socket; null: none. A host's name is resolved by the system, which may
  // take longer than the deadline. Errors of all: kIoError, kDeadlineExceeded, kCancelled (the
  // alarm); messages begin with the endpoint.
  static Result<Socket> Connect(const RedisUrl& url, const Alarm* alarm, Deadline deadline);

  // All of the buffers, which it advances.
  Status Send(std::span<iovec> buffers, Deadline deadline);

  // At least one byte. The server's closing of the connection is a kIoError.
  Result<std::size_t> Receive(std::span<iovec> buffers, Deadline deadline);

  // Nothing has arrived and the server has not closed: an idle connection that can be used.
  bool IsQuiet() const;

 private:
  Socket(Descriptor descriptor, const Alarm* alarm, std::string endpoint)
      : descriptor_(std::move(descriptor)), alarm_(alarm), endpoint_(std::move(endpoint)) {}
  static Result<Socket> ConnectTo(const RedisUrl& url, const void* address, unsigned length,
                                  int family, const Alarm* alarm, Deadline deadline);
  static Result<Socket> ConnectToHost(const RedisUrl& url, const Alarm* alarm, Deadline deadline);

  Status Await(short events, const char* operation, Deadline deadline);
  Error SystemError(const char* operation, int code) const;

  Descriptor descriptor_;
  const Alarm* alarm_;
  std::string endpoint_;
};

}  // namespace esa
