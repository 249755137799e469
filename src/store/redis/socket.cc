#include "store/redis/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "base/check.h"

namespace esa {
namespace {

// Linux refuses more buffers in one call than UIO_MAXIOV, 1024; fewer are as fast.
constexpr std::size_t kMaxBuffersPerCall = 64;

bool WouldBlock(int code) { return code == EAGAIN || code == EWOULDBLOCK || code == EINTR; }

// Milliseconds for poll, rounded up so that it never spins before the deadline.
int PollTimeout(Socket::Deadline deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1 << 30));
}

msghdr MessageOf(std::span<iovec> buffers) {
  msghdr message{};
  message.msg_iov = buffers.data();
  message.msg_iovlen = std::min(buffers.size(), kMaxBuffersPerCall);
  return message;
}

std::span<iovec> Advance(std::span<iovec> buffers, std::size_t bytes) {
  while (!buffers.empty() && bytes >= buffers.front().iov_len) {
    bytes -= buffers.front().iov_len;
    buffers = buffers.subspan(1);
  }
  if (bytes > 0) {
    iovec& first = buffers.front();
    first.iov_base = static_cast<char*>(first.iov_base) + bytes;
    first.iov_len -= bytes;
  }
  return buffers;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

Descriptor::~Descriptor() {
  if (value_ >= 0) close(value_);
}

int Descriptor::Release() { return std::exchange(value_, -1); }

Alarm::Alarm() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  ESA_CHECK(descriptor_.get() >= 0);
}

void Alarm::Ring() {
  const std::uint64_t one = 1;
  ESA_CHECK(write(descriptor_.get(), &one, sizeof(one)) == sizeof(one));
}

Error Socket::SystemError(const char* operation, int code) const {
  return IoError(endpoint_ + ": " + operation + ": " + std::strerror(code));
}

Status Socket::Await(short events, const char* operation, Deadline deadline) {
  pollfd waits[2] = {{descriptor_.get(), events, 0},
                     {alarm_ == nullptr ? -1 : alarm_->descriptor(), POLLIN, 0}};
  for (;;) {
    const int ready = poll(waits, 2, PollTimeout(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return SystemError("poll", errno);
    if (waits[1].revents != 0) return Cancelled(endpoint_ + ": the store is closing");
    if (ready > 0) return {};
    if (std::chrono::steady_clock::now() < deadline) continue;
    return DeadlineExceeded(endpoint_ + ": " + operation + ": no answer within the time limit");
  }
}

Result<Socket> Socket::ConnectTo(const RedisUrl& url, const void* address, unsigned length,
                                 int family, const Alarm* alarm, Deadline deadline) {
  Socket made(Descriptor(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)), alarm,
              url.Endpoint());
  const int descriptor = made.descriptor_.get();
  if (descriptor < 0) return made.SystemError("socket", errno);
  const int on = 1;  // refused on a Unix socket, which needs neither
  (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  (void)setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  // A Unix socket with a full backlog says EAGAIN, and poll would not tell when it has room.
  if (connect(descriptor, static_cast<const sockaddr*>(address), length) == 0) return made;
  if (errno != EINPROGRESS) return made.SystemError("connect", errno);
  if (Status done = made.Await(POLLOUT, "connect", deadline); !done) return done.error();
  int failed = 0;
  socklen_t size = sizeof(failed);
  getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failed, &size);
  if (failed != 0) return made.SystemError("connect", failed);
  return made;
}

Result<Socket> Socket::ConnectToHost(const RedisUrl& url, const Alarm* alarm, Deadline deadline) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int code = getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found); code != 0) {
    return IoError(url.Endpoint() + ": cannot resolve the host: " + gai_strerror(code));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  Error error = IoError(url.Endpoint() + ": the host has no address");
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    auto made = ConnectTo(url, a->ai_addr, a->ai_addrlen, a->ai_family, alarm, deadline);
    if (made) return made;
    error = made.error();
  }
  return error;
}

Result<Socket> Socket::Connect(const RedisUrl& url, const Alarm* alarm, Deadline deadline) {
  if (url.socket_path.empty()) return ConnectToHost(url, alarm, deadline);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (url.socket_path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument("redis_url: the path of the socket has " +
                           std::to_string(url.socket_path.size()) + " bytes, expected at most " +
                           std::to_string(sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, url.socket_path.c_str(), url.socket_path.size() + 1);
  return ConnectTo(url, &address, sizeof(address), AF_UNIX, alarm, deadline);
}

Status Socket::Send(std::span<iovec> buffers, Deadline deadline) {
  while (!buffers.empty()) {
    const msghdr message = MessageOf(buffers);
    const ssize_t sent = sendmsg(descriptor_.get(), &message, MSG_NOSIGNAL);
    if (sent >= 0) {
      buffers = Advance(buffers, static_cast<std::size_t>(sent));
      continue;
    }
    if (!WouldBlock(errno)) return SystemError("send", errno);
    if (Status ready = Await(POLLOUT, "send", deadline); !ready) return ready;
  }
  return {};
}

Result<std::size_t> Socket::Receive(std::span<iovec> buffers, Deadline deadline) {
  for (;;) {
    msghdr message = MessageOf(buffers);
    const ssize_t received = recvmsg(descriptor_.get(), &message, 0);
    if (received > 0) return static_cast<std::size_t>(received);
    if (received == 0) return IoError(endpoint_ + ": the server closed the connection");
    if (!WouldBlock(errno)) return SystemError("receive", errno);
    if (Status ready = Await(POLLIN, "receive", deadline); !ready) return ready.error();
  }
}

bool Socket::IsQuiet() const {
  char byte = 0;
  return recv(descriptor_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && WouldBlock(errno);
}

}  // namespace esa
