#include "base/text_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <iterator>

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TextFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "esa-text-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
};

TEST_F(TextFile, ComesBackAsItWasWritten) {
  const std::string path = folder_ + "/a";
  const std::string text = std::string("line\r\n\0tail", 11) + std::string(200'000, 'x');
  ASSERT_TRUE(ReplaceFile(path, "something longer before").ok());
  ASSERT_TRUE(ReplaceFile(path, text).ok());
  EXPECT_EQ(*ReadWholeFile(path), text);
  const auto entries = std::filesystem::directory_iterator(folder_);
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1) << "nothing temporary is left";
}

TEST_F(TextFile, ErrorsNameFileAndReason) {
  const auto missing = ReadWholeFile(folder_ + "/none");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message, AllOf(HasSubstr("/none"), HasSubstr("No such file")));
  EXPECT_FALSE(ReadWholeFile(folder_).ok());
  EXPECT_FALSE(ReplaceFile(folder_ + "/none/file", "x").ok());
}

TEST_F(TextFile, AFullDeviceIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  const Status status = ReplaceFile("/dev/full", std::string(100'000, 'x'));
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, AllOf(HasSubstr("/dev/full"), HasSubstr("No space left")));
}

}  // namespace
}  // namespace esa
