#include "model/tokenizer_unicode.h"

#include <gtest/gtest.h>

#include "model/byte_level.h"

namespace esa {
namespace {

std::string Nfc(const std::string& text) {
  std::string out;
  AppendNfc(text, &out);
  return out;
}

TEST(TokenizerUnicodeTest, ReadsWhatItWrites) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    AppendUtf8(c, &text);
    const Utf8Step step = ReadUtf8(text);
    ASSERT_EQ(step.kind, Utf8Step::Kind::kValid) << std::hex << static_cast<unsigned>(c);
    ASSERT_EQ(step.codepoint, c);
    ASSERT_EQ(step.bytes, text.size());
  }
}

TEST(TokenizerUnicodeTest, ReplacesMaximalIllFormedParts) {
  const auto valid = [](std::string_view text) {
    std::string out;
    AppendValidUtf8(text, /*keep_truncated=*/false, &out);
    return out;
  };
  EXPECT_EQ(valid("\xC0\x80"), "\uFFFD\uFFFD") << "overlong";
  EXPECT_EQ(valid("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD") << "surrogate";
  EXPECT_EQ(valid("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD") << "above U+10FFFF";
  EXPECT_EQ(valid("a\xF0\x9F\x98z"), "a\uFFFDz");
  std::string out;
  EXPECT_EQ(AppendValidUtf8("a\xF0\x9F\x98", /*keep_truncated=*/true, &out), 1u);
  EXPECT_EQ(out, "a");
}

TEST(TokenizerUnicodeTest, ComposesAndOrders) {
  EXPECT_EQ(Nfc("e\u0301"), "\u00E9");
  EXPECT_EQ(Nfc("\u0301e\u0301"), "\u0301\u00E9");
  EXPECT_EQ(Nfc("a\u0301\u0323"), "\u1EA1\u0301");
  EXPECT_EQ(Nfc("\u1112\u1161\u11AB"), "\uD55C");
  EXPECT_EQ(Nfc("\u212B \u2126"), "\u00C5 \u03A9");
  EXPECT_EQ(Nfc("e\xFF\u0301 \xE4\xBD"), "e\xFF\u0301 \xE4\xBD") << "bytes bound the text";
}

TEST(TokenizerUnicodeTest, KeepsToTheTablesOfUnicode9) {
  EXPECT_EQ(Nfc("a\u0898\u0323"), "a\u0898\u0323") << "a mark of Unicode 14 is not reordered";
  EXPECT_EQ(Nfc("\uAC00\u11A7"), "\uAC00\u11A7") << "no final consonant, and kept";
}

TEST(TokenizerUnicodeTest, ManyMarksTakeLinearTime) {
  std::string text = "e";
  std::string expected = "\u1EB9";
  for (int i = 0; i < 200000; ++i) text += "\u0301\u0323";
  for (int i = 1; i < 200000; ++i) expected += "\u0323";
  for (int i = 0; i < 200000; ++i) expected += "\u0301";
  EXPECT_TRUE(Nfc(text) == expected);
}

TEST(TokenizerUnicodeTest, StripsAsPythonDoes) {
  EXPECT_EQ(StripWhiteSpace(" \t\u3000\x1C x y\u00A0\n"), "x y");
  EXPECT_EQ(StripWhiteSpace("\u200Bx\xFF"), "\u200Bx\xFF");
  EXPECT_EQ(StripWhiteSpace(" \u2003 "), "");
}

TEST(ByteLevelTest, IsABijection) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  std::string text;
  AppendByteLevel(bytes, &text);
  std::string back;
  EXPECT_TRUE(AppendBytesOfByteLevel(text, &back));
  EXPECT_EQ(back, bytes);
  EXPECT_TRUE(text.starts_with("ĀāĂ")) << "the bytes that do not print take U+0100 on";
}

TEST(ByteLevelTest, RefusesForeignCharacters) {
  std::string bytes = "kept";
  for (const char* text : {"a b", "\u4F60", "\u00AD", "\u0144", "a\xFF"}) {
    EXPECT_FALSE(AppendBytesOfByteLevel(text, &bytes)) << text;
  }
  EXPECT_EQ(bytes, "kept");
}

}  // namespace
}  // namespace esa
