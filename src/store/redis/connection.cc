#include "store/redis/connection.h"

#include <fcntl.h>
#include <hiredis.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/status_macros.h"

namespace esa {
namespace {

using Kind = RedisReply::Kind;
using std::chrono::microseconds;

// A server worth asking answers at once; one lost packet is sent again after a second.
constexpr microseconds kMaxConnect{2'000'000};

// hiredis sends with write(2), which kills the process when the server has closed the connection,
// unless the thread holds that signal off.
class SigpipeHeldOff {
 public:
  SigpipeHeldOff() {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~SigpipeHeldOff() {
    const timespec now{};
    if (!was_pending_) {
      while (sigtimedwait(&sigpipe_, nullptr, &now) < 0 && errno == EINTR) continue;
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeHeldOff(const SigpipeHeldOff&) = delete;
  SigpipeHeldOff& operator=(const SigpipeHeldOff&) = delete;

 private:
  sigset_t sigpipe_;
  sigset_t before_;
  bool was_pending_ = false;
};

microseconds TimeLeft(BlockStore::Deadline deadline) {
  return std::chrono::ceil<microseconds>(deadline - std::chrono::steady_clock::now());
}

timeval TimevalOf(microseconds time) {
  return {.tv_sec = time.count() / 1'000'000, .tv_usec = time.count() % 1'000'000};
}

Kind KindOf(const redisReply& reply) {
  switch (reply.type) {
    case REDIS_REPLY_STATUS:
      return Kind::kStatus;
    case REDIS_REPLY_ERROR:
      return Kind::kError;
    case REDIS_REPLY_INTEGER:
      return Kind::kInteger;
    case REDIS_REPLY_STRING:
      return Kind::kBulk;
    case REDIS_REPLY_ARRAY:
      return Kind::kArray;
    default:
      return Kind::kNil;
  }
}

const char* NameOf(Kind kind) {
  switch (kind) {
    case Kind::kStatus:
      return "a status";
    case Kind::kError:
      return "an error";
    case Kind::kInteger:
      return "an integer";
    case Kind::kBulk:
      return "a string";
    case Kind::kNil:
      return "nothing";
    case Kind::kArray:
      return "an array";
  }
  return "";
}

std::string_view TextOf(const redisReply& reply) { return {reply.str, reply.len}; }

RedisReply ValueOf(const redisReply& reply) {
  RedisReply value{.kind = KindOf(reply), .integer = reply.integer};
  if (reply.str != nullptr) value.text = TextOf(reply);
  for (std::size_t i = 0; i < reply.elements; ++i) {
    value.elements.push_back(ValueOf(*reply.element[i]));
  }
  return value;
}

// The server's first word says what kind of error it is.
ErrorCode CodeOf(std::string_view text) {
  if (text.starts_with("OOM ")) return ErrorCode::kResourceExhausted;
  if (text.starts_with("WRONGTYPE ")) return ErrorCode::kDataError;
  return ErrorCode::kIoError;
}

// The server as a whole cannot serve us now, perhaps because another has become the primary: the
// next connection may reach that one.
bool IsOfTheServer(std::string_view text) {
  return text.starts_with("READONLY ") || text.starts_with("LOADING ") ||
         text.starts_with("MASTERDOWN ");
}

Error TimedOut(const std::string& endpoint, const char* operation) {
  return DeadlineExceeded(endpoint + ": " + operation + ": no answer within the time limit");
}

}  // namespace

void RedisConnection::FreeContext::operator()(redisContext* context) const { redisFree(context); }

void RedisConnection::FreeReply::operator()(redisReply* reply) const { freeReplyObject(reply); }

RedisConnection::RedisConnection(Context context, std::string endpoint, Alarm* alarm,
                                 Deadline deadline)
    : context_(std::move(context)),
      endpoint_(std::move(endpoint)),
      alarm_(alarm),
      deadline_(deadline) {
  if (alarm_ != nullptr) alarm_->Add(context_->fd);
}

RedisConnection::~RedisConnection() {
  if (alarm_ != nullptr) alarm_->Remove(context_->fd);
}

Result<RedisConnection::Context> RedisConnection::Connect(const RedisUrl& url, Deadline deadline) {
  const std::string endpoint = url.Endpoint();
  const microseconds left = TimeLeft(deadline);
  if (left <= microseconds(0)) return TimedOut(endpoint, "connect");
  const timeval limit = TimevalOf(std::min(left, kMaxConnect));
  Context context(url.socket_path.empty()
                      ? redisConnectWithTimeout(url.host.c_str(), url.port, limit)
                      : redisConnectUnixWithTimeout(url.socket_path.c_str(), limit));
  if (!context) return ResourceExhausted(endpoint + ": connect: out of memory");
  if (context->err != 0) {
    if (TimeLeft(deadline) <= microseconds(0)) return TimedOut(endpoint, "connect");
    return IoError(endpoint + ": connect: " + context->errstr);
  }
  (void)fcntl(context->fd, F_SETFD, FD_CLOEXEC);
  if (url.socket_path.empty()) (void)redisEnableKeepAlive(context.get());
  return context;
}

Result<std::unique_ptr<RedisConnection>> RedisConnection::Open(const RedisUrl& url, Alarm* alarm,
                                                               Deadline deadline) {
  ESA_ASSIGN_OR_RETURN(Context context, Connect(url, deadline));
  std::unique_ptr<RedisConnection> connection(
      new RedisConnection(std::move(context), url.Endpoint(), alarm, deadline));
  if (Status greeted = connection->Greet(url); !greeted) return greeted.error();
  return connection;
}

Status RedisConnection::Greet(const RedisUrl& url) {
  if (!url.user.empty()) {
    Append({"AUTH", url.user, url.password});
  } else if (!url.password.empty()) {
    Append({"AUTH", url.password});
  }
  if (url.database != 0) Append({"SELECT", std::to_string(url.database)});
  Append({"PING"});
  (void)Send();
  Status first;
  while (!commands_.empty()) {
    if (Status status = ReadStatus(); !status && first.ok()) first = status;
    if (failure_) break;
  }
  return first;
}

Error RedisConnection::Break(Error error) {
  if (!failure_) failure_ = std::move(error);
  return *failure_;
}

// After a call of hiredis that failed, whose errno still stands.
Error RedisConnection::BreakBySystem(const char* operation) {
  const bool timed_out = context_->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);
  if (alarm_ != nullptr && alarm_->rung()) {
    return Break(Cancelled(endpoint_ + ": the store is closing"));
  }
  if (timed_out) return Break(TimedOut(endpoint_, operation));
  if (context_->err == REDIS_ERR_EOF) {
    return Break(IoError(endpoint_ + ": the server closed the connection"));
  }
  return Break(IoError(endpoint_ + ": " + operation + ": " + context_->errstr));
}

Error RedisConnection::Refusal(std::string_view text, const std::string& command) {
  Error error{CodeOf(text), endpoint_ + ": " + command + ": " + std::string(text)};
  if (IsOfTheServer(text)) (void)Break(error);
  return error;
}

Error RedisConnection::Unexpected(const std::string& found, const std::string& command) {
  return Break(IoError(endpoint_ + ": " + command + ": the server replied with " + found));
}

// The time limits of a socket are those of one read or write, so they shrink with every one.
Status RedisConnection::LimitWait(const char* operation) {
  const microseconds left = TimeLeft(deadline_);
  if (left <= microseconds(0)) return Break(TimedOut(endpoint_, operation));
  if (redisSetTimeout(context_.get(), TimevalOf(left)) != REDIS_OK) return BreakBySystem(operation);
  return {};
}

void RedisConnection::Append(std::span<const std::string_view> arguments) {
  commands_.emplace_back(arguments.front());
  if (failure_) return;
  std::vector<const char*> bytes;
  std::vector<std::size_t> lengths;
  for (const std::string_view argument : arguments) {
    bytes.push_back(argument.data());
    lengths.push_back(argument.size());
  }
  const int appended = redisAppendCommandArgv(context_.get(), static_cast<int>(bytes.size()),
                                              bytes.data(), lengths.data());
  if (appended != REDIS_OK) (void)BreakBySystem("send");
}

Status RedisConnection::Send() {
  if (failure_) return *failure_;
  const SigpipeHeldOff held_off;
  for (int all_sent = 0; all_sent == 0;) {
    ESA_RETURN_IF_ERROR(LimitWait("send"));
    if (redisBufferWrite(context_.get(), &all_sent) != REDIS_OK) return BreakBySystem("send");
  }
  return {};
}

Result<RedisConnection::Reply> RedisConnection::NextReply() {
  if (failure_) return *failure_;
  for (;;) {
    void* reply = nullptr;
    if (redisGetReplyFromReader(context_.get(), &reply) != REDIS_OK) {
      return BreakBySystem("receive");
    }
    if (reply != nullptr) return Reply(static_cast<redisReply*>(reply));
    ESA_RETURN_IF_ERROR(LimitWait("receive"));
    if (redisBufferRead(context_.get()) != REDIS_OK) return BreakBySystem("receive");
  }
}

Error RedisConnection::ErrorOf(const RedisReply& reply, const std::string& command) {
  if (reply.kind == Kind::kError) return Refusal(reply.text, command);
  return Unexpected(NameOf(reply.kind), command);
}

Result<RedisConnection::Reply> RedisConnection::Read(Kind expected) {
  const std::string command = std::move(commands_.front());
  commands_.pop_front();
  ESA_ASSIGN_OR_RETURN(Reply reply, NextReply());
  const Kind kind = KindOf(*reply);
  if (kind == expected) return reply;
  if (kind == Kind::kError) return Refusal(TextOf(*reply), command);
  return Unexpected(NameOf(kind), command);
}

Status RedisConnection::ReadStatus() {
  const auto reply = Read(Kind::kStatus);
  return reply.ok() ? Status() : reply.error();
}

Result<std::int64_t> RedisConnection::ReadInteger() {
  ESA_ASSIGN_OR_RETURN(const Reply reply, Read(Kind::kInteger));
  return std::int64_t{reply->integer};
}

Result<std::string> RedisConnection::ReadBulk() {
  ESA_ASSIGN_OR_RETURN(const Reply reply, Read(Kind::kBulk));
  return std::string(TextOf(*reply));
}

Result<std::vector<RedisReply>> RedisConnection::ReadArray() {
  ESA_ASSIGN_OR_RETURN(const Reply reply, Read(Kind::kArray));
  return ValueOf(*reply).elements;
}

Result<std::size_t> RedisConnection::ReadBulkInto(std::span<std::byte> destination) {
  const std::string command = commands_.front();
  ESA_ASSIGN_OR_RETURN(const Reply reply, Read(Kind::kBulk));
  const std::string_view text = TextOf(*reply);
  if (text.size() > destination.size()) {
    return Unexpected("a string of " + std::to_string(text.size()) + " bytes, expected at most " +
                          std::to_string(destination.size()),
                      command);
  }
  std::memcpy(destination.data(), text.data(), text.size());
  return text.size();
}

bool RedisConnection::IsIdle() const {
  const redisReader& reader = *context_->reader;
  if (failure_ || !commands_.empty() || reader.pos != reader.len) return false;
  char byte = 0;
  return recv(context_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

}  // namespace esa
