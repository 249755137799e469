// One connection to a Redis server: commands out, replies in, in order, any number under way.
//
// Speaks RESP2 (https://redis.io/docs/reference/protocol-spec/). Large arguments go out from the
// caller's memory and large replies come in to it, without a copy between: a slice is most of what
// moves. After an error of the connection itself (not of a command) it is broken for good, and all
// that follows fails with that error; so a caller may read the replies to a pipeline one by one
// without looking whether the last one failed.
// Threading: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "esa/block_store.h"
#include "esa/result.h"
#include "store/redis/socket.h"
#include "store/redis/url.h"

namespace esa {

struct RedisReply {
  enum class Kind { kStatus, kError, kInteger, kBulk, kNil, kArray };
  Kind kind = Kind::kNil;
  std::string text = {};                  // of a status, an error, a bulk
  std::int64_t integer = 0;               // of an integer
  std::vector<RedisReply> elements = {};  // of an array
};

class RedisConnection {
 public:
  using Deadline = BlockStore::Deadline;

  // Connected, authenticated, at the database, and the server answers. Errors of all calls: those
  // of Socket; what the server refuses: kResourceExhausted (OOM), kDataError (a value of another
  // type), kIoError. Messages begin with the endpoint and the command.
  static Result<std::unique_ptr<RedisConnection>> Open(const RedisUrl& url, const Alarm* alarm,
                                                       Deadline deadline);

  // Of all that follows.
  void SetDeadline(Deadline deadline) { deadline_ = deadline; }

  // Adds a command to what Send sends. Arguments of 4096 bytes or more must live until then.
  void Append(std::span<const std::string_view> arguments);
  void Append(std::initializer_list<std::string_view> arguments) {
    Append(std::span(arguments.begin(), arguments.size()));
  }
  Status Send();

  // The reply to the oldest command without one, as its kind; another kind is an error.
  Status ReadStatus();
  Result<std::int64_t> ReadInteger();
  Result<std::string> ReadBulk();
  Result<std::vector<RedisReply>> ReadArray();
  // Bytes put into `destination`, which the reply must not exceed.
  Result<std::size_t> ReadBulkInto(std::span<std::byte> destination);

  // Of an error inside an array.
  Error ErrorOf(const RedisReply& reply, const std::string& command);

  // Unbroken, every reply read, nothing unasked for on the way: fit for the next user.
  bool IsIdle() const;

 private:
  RedisConnection(Socket socket, std::string endpoint);
  Status Greet(const RedisUrl& url);

  Result<RedisReply> Read(RedisReply::Kind expected);
  Result<RedisReply> ReadAny(int depth);
  Result<RedisReply> ReadElements(std::int64_t count, int depth);
  Result<std::string> ReadLine();
  Result<std::int64_t> NumberIn(std::string_view line);
  Status ReadBytes(std::span<std::byte> to);
  Status ReadTerminator();
  Status Fill(std::span<std::byte> ahead, std::size_t* taken_ahead);
  Error Break(Error error);
  Error ProtocolError(const std::string& what);
  std::string TakeCommand();

  struct Segment {
    const char* external = nullptr;  // null: in text_
    std::size_t at = 0;              // in text_
    std::size_t bytes = 0;
  };
  void AppendText(std::string_view text);
  void AppendCount(char kind, std::size_t count);

  Socket socket_;
  const std::string endpoint_;
  Deadline deadline_;
  std::optional<Error> failure_;
  std::deque<std::string> commands_;  // names of those without a reply
  std::string text_;                  // to be sent: protocol and small arguments
  std::vector<Segment> segments_;     // to be sent
  std::vector<std::byte> buffer_;     // received; [begin_, end_) not yet read
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace esa
