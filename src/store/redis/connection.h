// One connection to a Redis server: commands out, replies in, in order, any number under way.
//
// hiredis speaks the protocol; here are deadlines, an alarm that ends waits, and errors in our
// words. After an error of the connection itself (not of a command) it is broken for good, and all
// that follows fails with that error; so a caller may read the replies to a pipeline one by one
// without looking whether the last one failed.
// Threading: one thread at a time; the alarm is rung from any.
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
#include "store/redis/alarm.h"
#include "store/redis/url.h"

struct redisContext;
struct redisReply;

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

  // Connected, authenticated, at the database, and the server answers. Connecting takes 2 s at
  // most, for each address of a host, and only then knows the alarm; `alarm` outlives the
  // connection; null: none. A host's name is resolved by the system, which may take longer than
  // the deadline. Errors of all calls: kIoError, kDeadlineExceeded, kCancelled (the alarm); what
  // the server refuses: kResourceExhausted (OOM), kDataError (a value of another type), kIoError.
  // Messages begin with the endpoint, and the command where one is to blame.
  static Result<std::unique_ptr<RedisConnection>> Open(const RedisUrl& url, Alarm* alarm,
                                                       Deadline deadline);
  ~RedisConnection();

  // Of all that follows.
  void SetDeadline(Deadline deadline) { deadline_ = deadline; }

  // Adds a command to what Send sends.
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
  struct FreeContext {
    void operator()(redisContext* context) const;
  };
  struct FreeReply {
    void operator()(redisReply* reply) const;
  };
  using Context = std::unique_ptr<redisContext, FreeContext>;
  using Reply = std::unique_ptr<redisReply, FreeReply>;

  RedisConnection(Context context, std::string endpoint, Alarm* alarm, Deadline deadline);
  static Result<Context> Connect(const RedisUrl& url, Deadline deadline);
  Status Greet(const RedisUrl& url);

  Result<Reply> Read(RedisReply::Kind expected);
  Result<Reply> NextReply();
  Status LimitWait(const char* operation);
  Error Break(Error error);
  Error BreakBySystem(const char* operation);
  Error Refusal(std::string_view text, const std::string& command);
  Error Unexpected(const std::string& found, const std::string& command);

  const Context context_;
  const std::string endpoint_;
  Alarm* const alarm_;
  Deadline deadline_;
  std::optional<Error> failure_;
  std::deque<std::string> commands_;  // names of those without a reply
};

}  // namespace esa
