#include "store/redis/connection.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/status_macros.h"

namespace esa {
namespace {

using Kind = RedisReply::Kind;

constexpr std::size_t kReferencedBytes = 4096;    // an argument from here on is not copied
constexpr std::size_t kBufferBytes = 16384;       // what arrives beside a large reply is copied
constexpr std::size_t kMaxLineBytes = 65536;      // of an error or a status
constexpr std::int64_t kMaxBulkBytes = 64 << 20;  // of a reply that is kept as text
constexpr std::int64_t kMaxElements = 1 << 20;    // of an array
constexpr int kMaxDepth = 4;                      // of arrays in arrays

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

}  // namespace

RedisConnection::RedisConnection(Socket socket, std::string endpoint)
    : socket_(std::move(socket)), endpoint_(std::move(endpoint)), buffer_(kBufferBytes) {}

Result<std::unique_ptr<RedisConnection>> RedisConnection::Open(const RedisUrl& url,
                                                               const Alarm* alarm,
                                                               Deadline deadline) {
  ESA_ASSIGN_OR_RETURN(Socket socket, Socket::Connect(url, alarm, deadline));
  std::unique_ptr<RedisConnection> connection(
      new RedisConnection(std::move(socket), url.Endpoint()));
  connection->SetDeadline(deadline);
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

void RedisConnection::AppendText(std::string_view text) {
  if (segments_.empty() || segments_.back().external != nullptr) {
    segments_.push_back({.at = text_.size()});
  }
  text_.append(text);
  segments_.back().bytes += text.size();
}

void RedisConnection::AppendCount(char kind, std::size_t count) {
  AppendText({&kind, 1});
  AppendText(std::to_string(count));
  AppendText("\r\n");
}

void RedisConnection::Append(std::span<const std::string_view> arguments) {
  commands_.emplace_back(arguments.front());
  AppendCount('*', arguments.size());
  for (const std::string_view argument : arguments) {
    AppendCount('$', argument.size());
    if (argument.size() < kReferencedBytes) {
      AppendText(argument);
    } else {
      segments_.push_back({.external = argument.data(), .bytes = argument.size()});
    }
    AppendText("\r\n");
  }
}

Status RedisConnection::Send() {
  std::vector<iovec> buffers;
  for (const Segment& segment : segments_) {
    const char* bytes = segment.external != nullptr ? segment.external : text_.data() + segment.at;
    buffers.push_back({const_cast<char*>(bytes), segment.bytes});
  }
  Status sent;
  if (failure_) {
    sent = *failure_;
  } else if (sent = socket_.Send(buffers, deadline_); !sent) {
    sent = Break(sent.error());
  }
  segments_.clear();
  text_.clear();
  return sent;
}

Error RedisConnection::Break(Error error) {
  if (!failure_) failure_ = std::move(error);
  return *failure_;
}

Error RedisConnection::ProtocolError(const std::string& what) {
  return Break(IoError(endpoint_ + ": not the Redis protocol: " + what));
}

std::string RedisConnection::TakeCommand() {
  if (commands_.empty()) return "";
  std::string command = std::move(commands_.front());
  commands_.pop_front();
  return command;
}

// Into `ahead` first, and what comes beyond it into the buffer, which must be empty: one call for
// the rest of a slice and the start of the next reply.
Status RedisConnection::Fill(std::span<std::byte> ahead, std::size_t* taken_ahead) {
  if (failure_) return *failure_;
  begin_ = end_ = 0;
  iovec buffers[2] = {{ahead.data(), ahead.size()}, {buffer_.data(), buffer_.size()}};
  const std::span<iovec> used = std::span(buffers).subspan(ahead.empty() ? 1 : 0);
  const Result<std::size_t> received = socket_.Receive(used, deadline_);
  if (!received) return Break(received.error());
  *taken_ahead = std::min(*received, ahead.size());
  end_ = *received - *taken_ahead;
  return {};
}

Status RedisConnection::ReadBytes(std::span<std::byte> to) {
  while (!to.empty()) {
    std::size_t taken = std::min(to.size(), end_ - begin_);
    if (taken > 0) {
      std::memcpy(to.data(), buffer_.data() + begin_, taken);
      begin_ += taken;
    } else if (Status filled = Fill(to, &taken); !filled) {
      return filled;
    }
    to = to.subspan(taken);
  }
  return {};
}

Result<std::string> RedisConnection::ReadLine() {
  std::string line;
  for (;;) {
    const auto first = buffer_.begin() + static_cast<std::ptrdiff_t>(begin_);
    const auto last = buffer_.begin() + static_cast<std::ptrdiff_t>(end_);
    const auto newline = std::find(first, last, std::byte{'\n'});
    line.append(reinterpret_cast<const char*>(buffer_.data() + begin_),
                static_cast<std::size_t>(newline - first));
    begin_ += static_cast<std::size_t>(newline - first);
    if (newline != last) break;
    if (line.size() > kMaxLineBytes) return ProtocolError("a line without an end");
    std::size_t none = 0;
    if (Status filled = Fill({}, &none); !filled) return filled.error();
  }
  ++begin_;
  if (line.size() < 2 || line.back() != '\r') return ProtocolError("a line without \\r\\n");
  line.pop_back();
  return line;
}

Status RedisConnection::ReadTerminator() {
  std::byte end[2];
  ESA_RETURN_IF_ERROR(ReadBytes(end));
  if (end[0] == std::byte{'\r'} && end[1] == std::byte{'\n'}) return {};
  return ProtocolError("a string without \\r\\n at its end");
}

Result<std::int64_t> RedisConnection::NumberIn(std::string_view line) {
  std::int64_t value = 0;
  const char* last = line.data() + line.size();
  const auto [end, failed] = std::from_chars(line.data() + 1, last, value);
  if (failed != std::errc() || end != last) return ProtocolError("expected a number");
  return value;
}

Result<RedisReply> RedisConnection::ReadElements(std::int64_t count, int depth) {
  RedisReply reply{.kind = Kind::kArray};
  if (count > kMaxElements || depth >= kMaxDepth) return ProtocolError("an array out of bounds");
  for (std::int64_t i = 0; i < count; ++i) {
    ESA_ASSIGN_OR_RETURN(RedisReply element, ReadAny(depth + 1));
    reply.elements.push_back(std::move(element));
  }
  return reply;
}

Result<RedisReply> RedisConnection::ReadAny(int depth) {
  const Result<std::string> read = ReadLine();
  if (!read) return read.error();
  const std::string& line = *read;
  switch (line.front()) {
    case '+':
      return RedisReply{.kind = Kind::kStatus, .text = line.substr(1)};
    case '-':
      return RedisReply{.kind = Kind::kError, .text = line.substr(1)};
    default:
      break;
  }
  ESA_ASSIGN_OR_RETURN(const std::int64_t number, NumberIn(line));
  switch (line.front()) {
    case ':':
      return RedisReply{.kind = Kind::kInteger, .integer = number};
    case '*':
      return number < 0 ? RedisReply{} : ReadElements(number, depth);
    case '$':
      break;
    default:
      return ProtocolError("a reply that begins with byte " +
                           std::to_string(static_cast<unsigned char>(line.front())));
  }
  if (number < 0) return RedisReply{};
  if (number > kMaxBulkBytes) return ProtocolError("a string out of bounds");
  RedisReply reply{.kind = Kind::kBulk, .text = std::string(static_cast<std::size_t>(number), 0)};
  ESA_RETURN_IF_ERROR(ReadBytes(std::as_writable_bytes(std::span(reply.text))));
  ESA_RETURN_IF_ERROR(ReadTerminator());
  return reply;
}

Error RedisConnection::ErrorOf(const RedisReply& reply, const std::string& command) {
  if (reply.kind != Kind::kError) {
    return ProtocolError(std::string(NameOf(reply.kind)) + " in reply to " + command);
  }
  Error error{CodeOf(reply.text), endpoint_ + ": " + command + ": " + reply.text};
  if (IsOfTheServer(reply.text)) (void)Break(error);
  return error;
}

Result<RedisReply> RedisConnection::Read(Kind expected) {
  const std::string command = TakeCommand();
  if (failure_) return *failure_;
  ESA_ASSIGN_OR_RETURN(RedisReply reply, ReadAny(0));
  if (reply.kind != expected) return ErrorOf(reply, command);
  return reply;
}

Status RedisConnection::ReadStatus() {
  const auto reply = Read(Kind::kStatus);
  return reply.ok() ? Status() : reply.error();
}

Result<std::int64_t> RedisConnection::ReadInteger() {
  const auto reply = Read(Kind::kInteger);
  if (!reply) return reply.error();
  return reply->integer;
}

Result<std::string> RedisConnection::ReadBulk() {
  auto reply = Read(Kind::kBulk);
  if (!reply) return reply.error();
  return std::move(reply->text);
}

Result<std::vector<RedisReply>> RedisConnection::ReadArray() {
  auto reply = Read(Kind::kArray);
  if (!reply) return reply.error();
  return std::move(reply->elements);
}

Result<std::size_t> RedisConnection::ReadBulkInto(std::span<std::byte> destination) {
  const std::string command = TakeCommand();
  if (failure_) return *failure_;
  const Result<std::string> read = ReadLine();
  if (!read) return read.error();
  const std::string& line = *read;
  if (line.front() == '-') return ErrorOf({.kind = Kind::kError, .text = line.substr(1)}, command);
  if (line.front() != '$') return ProtocolError("no string in reply to " + command);
  ESA_ASSIGN_OR_RETURN(const std::int64_t bytes, NumberIn(line));
  if (bytes < 0 || static_cast<std::uint64_t>(bytes) > destination.size()) {
    return ProtocolError("a string of " + std::to_string(bytes) + " bytes in reply to " + command +
                         ", expected at most " + std::to_string(destination.size()));
  }
  ESA_RETURN_IF_ERROR(ReadBytes(destination.first(static_cast<std::size_t>(bytes))));
  ESA_RETURN_IF_ERROR(ReadTerminator());
  return static_cast<std::size_t>(bytes);
}

bool RedisConnection::IsIdle() const {
  return !failure_ && commands_.empty() && segments_.empty() && begin_ == end_ && socket_.IsQuiet();
}

}  // namespace esa
