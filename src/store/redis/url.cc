#include "store/redis/url.h"

#include <sys/un.h>

#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "base/status_macros.h"

namespace esa {
namespace {

constexpr char kExpected[] =
    "expected redis://[[user]:password@]host[:port][/database] or redis+unix://[[user]:password@]"
    "/path";
constexpr std::string_view kTcpScheme = "redis://";
constexpr std::string_view kUnixScheme = "redis+unix://";
constexpr int kDefaultPort = 6379;

Error Wrong(const std::string& what) { return InvalidArgument("redis_url: " + what); }

std::optional<int> ParseNumber(std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value < low || value > high) return std::nullopt;
  return value;
}

Result<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    int code = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto [end, failed] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (failed != std::errc() || digits.size() != 2 || end != digits.data() + 2) {
      return Wrong("a % before the @ is not followed by two hexadecimal digits");
    }
    decoded += static_cast<char>(code);
    i += 2;
  }
  return decoded;
}

// Takes "[user]:password@" off the front of `*rest`.
Status TakeCredentials(std::string_view* rest, RedisUrl* url) {
  const std::string_view authority = rest->substr(0, rest->find('/'));
  const std::size_t at = authority.rfind('@');
  if (at == std::string_view::npos) return {};
  const std::string_view credentials = authority.substr(0, at);
  const std::size_t colon = credentials.find(':');
  if (colon == std::string_view::npos) {
    return Wrong("there is no colon before the @, expected :password@ or user:password@");
  }
  ESA_ASSIGN_OR_RETURN(url->user, PercentDecode(credentials.substr(0, colon)));
  ESA_ASSIGN_OR_RETURN(url->password, PercentDecode(credentials.substr(colon + 1)));
  rest->remove_prefix(at + 1);
  return {};
}

Status TakePort(std::string_view port, RedisUrl* url) {
  const std::optional<int> number = ParseNumber(port, 1, 65535);
  if (!number) {
    return Wrong("port is \"" + std::string(port) + "\", expected 1 to 65535");
  }
  url->port = *number;
  return {};
}

Status TakeHost(std::string_view address, RedisUrl* url) {
  url->port = kDefaultPort;
  std::size_t host_end = address.find(':');
  if (address.starts_with('[')) {
    host_end = address.find(']');
    if (host_end == std::string_view::npos) return Wrong("[ without ] in the host");
    url->host = address.substr(1, host_end - 1);
    ++host_end;
  } else {
    url->host = address.substr(0, host_end);
  }
  if (url->host.empty()) return Wrong(std::string("has no host, ") + kExpected);
  if (host_end >= address.size()) return {};
  if (address[host_end] != ':') return Wrong("expected a colon and a port after ] of the host");
  return TakePort(address.substr(host_end + 1), url);
}

Status TakeDatabase(std::string_view text, RedisUrl* url) {
  if (text.empty()) return {};
  const std::optional<int> database = ParseNumber(text, 0, 1 << 20);
  if (!database) return Wrong("database is \"" + std::string(text) + "\", expected a number");
  url->database = *database;
  return {};
}

// hiredis cuts a longer path short, and connects to who knows what.
Result<RedisUrl> WithSocketPath(RedisUrl url, std::string_view path) {
  constexpr std::size_t kMaxBytes = sizeof(sockaddr_un::sun_path) - 1;
  if (path.size() > kMaxBytes) {
    return Wrong("the path of the socket has " + std::to_string(path.size()) +
                 " bytes, expected at most " + std::to_string(kMaxBytes));
  }
  url.socket_path = path;
  return url;
}

}  // namespace

std::string RedisUrl::Endpoint() const {
  if (!socket_path.empty()) return "redis " + socket_path;
  const bool v6 = host.find(':') != std::string::npos;
  std::string text = "redis " + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
  return database == 0 ? text : text + "/" + std::to_string(database);
}

Result<RedisUrl> ParseRedisUrl(const std::string& text) {
  if (text.empty()) return Wrong(std::string("is empty, ") + kExpected);
  if (text.starts_with("rediss://")) {
    return Unsupported("redis_url: rediss:// (TLS) is not supported, " + std::string(kExpected));
  }
  RedisUrl url;
  std::string_view rest = text;
  if (rest.starts_with(kUnixScheme)) {
    rest.remove_prefix(kUnixScheme.size());
    ESA_RETURN_IF_ERROR(TakeCredentials(&rest, &url));
    if (!rest.starts_with('/') || rest.size() < 2) {
      return Wrong(std::string("has no absolute path of a socket, ") + kExpected);
    }
    return WithSocketPath(std::move(url), rest);
  }
  if (!rest.starts_with(kTcpScheme)) return Wrong(std::string("unknown scheme, ") + kExpected);
  rest.remove_prefix(kTcpScheme.size());
  ESA_RETURN_IF_ERROR(TakeCredentials(&rest, &url));
  const std::size_t slash = rest.find('/');
  ESA_RETURN_IF_ERROR(TakeHost(rest.substr(0, slash), &url));
  if (slash != std::string_view::npos) {
    ESA_RETURN_IF_ERROR(TakeDatabase(rest.substr(slash + 1), &url));
  }
  return url;
}

}  // namespace esa
