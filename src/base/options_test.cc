#include "esa/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string ErrorOf(const OptionReader& reader) {
  const Status status = reader.Finish();
  return status.ok() ? "" : status.error().message;
}

TEST(ParseOptions, KeepsTheTypeOfEveryValue) {
  const auto options = ParseOptions(R"({"a": 5, "b": 0.25, "c": true, "d": "x", "e": -1})");
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(std::get<std::int64_t>(options->at("a")), 5);
  EXPECT_EQ(std::get<double>(options->at("b")), 0.25);
  EXPECT_EQ(std::get<bool>(options->at("c")), true);
  EXPECT_EQ(std::get<std::string>(options->at("d")), "x");
  EXPECT_EQ(std::get<std::int64_t>(options->at("e")), -1);
}

TEST(ParseOptions, RefusesWhatIsNoFlatObject) {
  for (const char* text : {"", "{", "[1]", "5", R"({"a": [1]})", R"({"a": null})", "{'a': 1}"}) {
    const auto options = ParseOptions(text);
    ASSERT_FALSE(options.ok()) << text;
    EXPECT_THAT(options.error().message, HasSubstr("options")) << text;
    EXPECT_EQ(options.error().message.find('\n'), std::string::npos) << text;
  }
}

TEST(OptionReader, ReadsValuesAndFallbacks) {
  const Options options = *ParseOptions(R"({"n": 5, "x": 1, "on": true, "mode": "fast"})");
  OptionReader reader("ESA", options);
  EXPECT_EQ(reader.Int("n", 0, 1, 10), 5);
  EXPECT_EQ(reader.Int("m", 7, 1, 10), 7);
  EXPECT_EQ(reader.Real("x", 0.5, 0, 1), 1.0);
  EXPECT_EQ(reader.Real("y", 0.5, 0, 1), 0.5);
  EXPECT_TRUE(reader.Bool("on", false));
  EXPECT_EQ(reader.Text("mode", "slow", {"slow", "fast"}), "fast");
  EXPECT_EQ(ErrorOf(reader), "");
}

TEST(OptionReader, NamesTheUnknownKeyAndTheKnownOnes) {
  const Options options = *ParseOptions(R"({"retrieval_strid": 5})");
  OptionReader reader("ESA", options);
  reader.Int("retrieval_stride", 5, 3, 1000);
  reader.Real("sparse_ratio", 0.2, 0, 1);
  EXPECT_EQ(ErrorOf(reader),
            "ESA: unknown key \"retrieval_strid\"; known keys: retrieval_stride, sparse_ratio");
}

TEST(OptionReader, NamesWhatWasFoundAndExpected) {
  const Options options =
      *ParseOptions(R"({"low": 2, "text": "5", "ratio": 1.5, "flag": 1, "mode": "quick"})");
  const auto message = [&](auto read) {
    OptionReader reader("ESA", options);
    read(reader);
    return ErrorOf(reader);
  };
  EXPECT_EQ(message([](OptionReader& r) { r.Int("low", 5, 3, 9); }),
            "ESA: low: found 2, expected a whole number from 3 to 9");
  EXPECT_EQ(message([](OptionReader& r) { r.Int("text", 5, 3, 9); }),
            "ESA: text: found \"5\", expected a whole number from 3 to 9");
  EXPECT_EQ(message([](OptionReader& r) { r.Real("ratio", 0, 0, 1); }),
            "ESA: ratio: found 1.5, expected a number from 0 to 1");
  EXPECT_EQ(message([](OptionReader& r) { r.Bool("flag", false); }),
            "ESA: flag: found 1, expected true or false");
  EXPECT_EQ(message([](OptionReader& r) {
              r.Text("mode", "a", {"a", "b"});
            }),
            "ESA: mode: found \"quick\", expected one of a, b");
}

TEST(OptionReader, ReportsTheFirstMistake) {
  const Options options = *ParseOptions(R"({"a": 0, "b": 0, "zzz": 0})");
  OptionReader reader("X", options);
  EXPECT_EQ(reader.Int("b", 4, 1, 9), 4);
  reader.Int("a", 4, 1, 9);
  EXPECT_THAT(ErrorOf(reader), AllOf(HasSubstr("X: b:"), HasSubstr("from 1 to 9")));
}

}  // namespace
}  // namespace esa
