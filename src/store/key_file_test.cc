#include "store/key_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kDigits = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

std::string Raw() {
  std::string bytes;
  for (int i = 0; i < 32; ++i) bytes.push_back(static_cast<char>(i));
  return bytes;
}

class KeyFile : public ::testing::Test {
 protected:
  KeyFile() { unsetenv(kStoreKeyVariable); }
  ~KeyFile() override { unsetenv(kStoreKeyVariable); }

  std::string path() const { return folder_.path() + "/key"; }

  void Write(const std::string& content, mode_t mode = 0600) const {
    std::ofstream(path(), std::ios::binary) << content;
    ASSERT_EQ(chmod(path().c_str(), mode), 0);
  }

  // "key": the one of the digits above; "none"; or what was refused and why.
  static std::string Read(const std::string& from) {
    const auto key = ReadStoreKey(from);
    if (!key) return key.error().message;
    if (!key->has_value()) return "none";
    const std::string raw = Raw();
    return std::ranges::equal((*key)->bytes(), std::as_bytes(std::span(raw))) ? "key" : "other";
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(KeyFile, HoldsBytesOrDigits) {
  for (const std::string& content :
       {Raw(), Raw() + "\n", kDigits, kDigits + "\n", kDigits + "\r\n"}) {
    Write(content);
    EXPECT_EQ(Read(path()), "key") << content.size();
  }
  Write(kDigits, 0400);
  EXPECT_EQ(Read(path()), "key");
}

TEST_F(KeyFile, RefusesWhatIsNoKeyAndNeverTellsIt) {
  for (const std::string& content :
       {std::string(), Raw().substr(1), Raw() + "xx", kDigits.substr(1), kDigits + "0",
        kDigits + "\n\n", kDigits + kDigits, kDigits.substr(1) + "g", kDigits.substr(32),
        kDigits.substr(32) + "\n", std::string("a password of 32 characters, hm!")}) {
    Write(content);
    EXPECT_THAT(Read(path()), AllOf(HasSubstr("encryption_key_file " + path()),
                                    HasSubstr("expected 64 hexadecimal digits"),
                                    Not(HasSubstr("1112")), Not(HasSubstr("password"))))
        << content.size();
  }
}

TEST_F(KeyFile, MustBeItsOwnersAlone) {
  for (const mode_t mode : {0640, 0604, 0620, 0602, 0610, 0601}) {
    Write(kDigits, mode);
    EXPECT_THAT(Read(path()), HasSubstr("chmod 600 " + path())) << mode;
  }
}

TEST_F(KeyFile, MustBeAFile) {
  EXPECT_THAT(Read(path()), AllOf(HasSubstr(path()), HasSubstr("No such file")));
  EXPECT_EQ(ReadStoreKey(path()).error().code, ErrorCode::kNotFound);
  ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
  EXPECT_THAT(Read(path()), HasSubstr("expected a file"));
  EXPECT_THAT(Read(path() + "/.."), HasSubstr("Not a directory"));
}

TEST_F(KeyFile, TheEnvironmentIsSecond) {
  EXPECT_EQ(Read(""), "none");
  setenv(kStoreKeyVariable, kDigits.c_str(), 1);
  EXPECT_EQ(Read(""), "key");
  Write(std::string(32, '\x7f'));
  EXPECT_EQ(Read(path()), "other");
  // Neither an unset secret nor a raw one turns encryption off, or is taken for a key.
  for (const std::string& value : {std::string(), kDigits.substr(2), kDigits.substr(1) + "x"}) {
    setenv(kStoreKeyVariable, value.c_str(), 1);
    EXPECT_THAT(Read(""), AllOf(HasSubstr("ESA_STORE_KEY: "), HasSubstr("64 hexadecimal digits")));
  }
}

}  // namespace
}  // namespace esa::testing
