#include "store/redis/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace esa {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RedisUrl Parsed(const std::string& text) {
  auto url = ParseRedisUrl(text);
  EXPECT_TRUE(url.ok()) << text << ": " << (url.ok() ? "" : url.error().message);
  return url.ok() ? *url : RedisUrl{};
}

std::string Refusal(const std::string& text) {
  const auto url = ParseRedisUrl(text);
  return url.ok() ? "accepted" : url.error().message;
}

TEST(RedisUrl, ReadsHostPortAndDatabase) {
  const RedisUrl plain = Parsed("redis://cache");
  EXPECT_EQ(plain.host, "cache");
  EXPECT_EQ(plain.port, 6379);
  EXPECT_EQ(plain.database, 0);
  EXPECT_EQ(plain.Endpoint(), "redis cache:6379");
  const RedisUrl full = Parsed("redis://10.0.0.7:7000/12");
  EXPECT_EQ(full.port, 7000);
  EXPECT_EQ(full.database, 12);
  EXPECT_EQ(full.Endpoint(), "redis 10.0.0.7:7000/12");
  EXPECT_EQ(Parsed("redis://cache/").database, 0);
}

TEST(RedisUrl, ReadsIpV6) {
  const RedisUrl url = Parsed("redis://:x@[::1]:7000");
  EXPECT_EQ(url.host, "::1");
  EXPECT_EQ(url.port, 7000);
  EXPECT_EQ(url.Endpoint(), "redis [::1]:7000");
  EXPECT_EQ(Parsed("redis://[fe80::1]").port, 6379);
}

TEST(RedisUrl, ReadsCredentials) {
  const RedisUrl url = Parsed("redis://:p%40ss%2Fw:rd@cache:1");
  EXPECT_EQ(url.user, "");
  EXPECT_EQ(url.password, "p@ss/w:rd");
  EXPECT_THAT(url.Endpoint(), Not(HasSubstr("p@ss")));
  const RedisUrl named = Parsed("redis://esa:secret@cache");
  EXPECT_EQ(named.user, "esa");
  EXPECT_EQ(named.password, "secret");
}

TEST(RedisUrl, ReadsUnixSockets) {
  const RedisUrl url = Parsed("redis+unix:///run/redis.sock");
  EXPECT_EQ(url.socket_path, "/run/redis.sock");
  EXPECT_EQ(url.Endpoint(), "redis /run/redis.sock");
  const RedisUrl secret = Parsed("redis+unix://:secret@/run/redis.sock");
  EXPECT_EQ(secret.password, "secret");
  EXPECT_EQ(secret.socket_path, "/run/redis.sock");
}

TEST(RedisUrl, SaysWhatIsWrongInOneLine) {
  EXPECT_THAT(Refusal(""), HasSubstr("redis_url: is empty, expected redis://"));
  EXPECT_THAT(Refusal("http://cache"), HasSubstr("unknown scheme"));
  EXPECT_THAT(Refusal("cache:6379"), HasSubstr("unknown scheme"));
  EXPECT_THAT(Refusal("rediss://cache"), HasSubstr("TLS"));
  EXPECT_THAT(Refusal("redis://"), HasSubstr("no host"));
  EXPECT_THAT(Refusal("redis://:x@"), HasSubstr("no host"));
  EXPECT_THAT(Refusal("redis://cache:"), HasSubstr("port is \"\""));
  EXPECT_THAT(Refusal("redis://cache:0"), HasSubstr("port is \"0\", expected 1 to 65535"));
  EXPECT_THAT(Refusal("redis://cache:70000"), HasSubstr("port is \"70000\""));
  EXPECT_THAT(Refusal("redis://cache:1x"), HasSubstr("port is \"1x\""));
  EXPECT_THAT(Refusal("redis://cache/one"), HasSubstr("database is \"one\", expected a number"));
  EXPECT_THAT(Refusal("redis://cache/-1"), HasSubstr("database is \"-1\""));
  EXPECT_THAT(Refusal("redis://[::1"), HasSubstr("[ without ]"));
  EXPECT_THAT(Refusal("redis://[::1]x"), HasSubstr("after ]"));
  EXPECT_THAT(Refusal("redis://secret@cache"), HasSubstr("no colon before the @"));
  EXPECT_THAT(Refusal("redis://:%4@cache"), HasSubstr("hexadecimal"));
  EXPECT_THAT(Refusal("redis://:%zz@cache"), HasSubstr("hexadecimal"));
  EXPECT_THAT(Refusal("redis+unix://run/redis.sock"), HasSubstr("no absolute path"));
  EXPECT_THAT(Refusal("redis+unix://"), HasSubstr("no absolute path"));
}

TEST(RedisUrl, NeverRepeatsAPassword) {
  for (const char* text : {"redis://:hunter2@cache:x", "redis://:hunter2@", "http://:hunter2@cache",
                           "redis://:hunter2@cache/x", "redis://hunter2@cache",
                           "redis+unix://:hunter2@x", "redis://:hunter2%@cache"}) {
    EXPECT_NE(Refusal(text), "accepted") << text;
    EXPECT_THAT(Refusal(text), Not(HasSubstr("hunter2")));
  }
}

}  // namespace
}  // namespace esa
