// Where a Redis server is and how it is entered: the parsed StoreConfig::redis_url.
//
// Plain values, no threading of their own.
#pragma once

#include <string>

#include "esa/result.h"

namespace esa {

struct RedisUrl {
  std::string socket_path = {};  // of a Unix socket; empty: host and port
  std::string host = {};
  int port = 0;
  std::string user = {};  // empty: the default user
  std::string password = {};
  int database = 0;

  std::string Endpoint() const;  // for messages: without user and password
};

// redis://[[user]:password@]host[:port][/database], or redis+unix://[[user]:password@]/path. User
// and password are percent-decoded; an IPv6 address stands in brackets. kInvalidArgument: says
// which field is wrong, and never repeats a password.
Result<RedisUrl> ParseRedisUrl(const std::string& text);

}  // namespace esa
