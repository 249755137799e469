// What is streamed piece by piece: whole characters, and nothing of a stop string.
#include "engine/output_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/byte_level.h"

namespace esa {
namespace {

using ::testing::ElementsAre;

constexpr std::int32_t kEuro[] = {3, 4, 5};  // the three bytes of a euro sign
constexpr const char* kPieces[] = {"a",    "b", "EN",   "\xe2",     "\x82", "\xac", "D", "\n\n",
                                   "User", ":", "ENDx", "\xf0\x9f", "\x98", "\x80", "ab"};

// A token for each piece, its id the piece's index.
std::unique_ptr<Tokenizer> PieceTokenizer() {
  std::string vocab;
  std::int32_t id = 0;
  for (const char* piece : kPieces) {
    std::string spelled;
    AppendByteLevel(piece, &spelled);
    vocab += (vocab.empty() ? "\"" : ", \"") + spelled + "\": " + std::to_string(id++);
  }
  auto tokenizer = Tokenizer::FromJson(
      R"({"model": {"type": "BPE", "merges": [], "vocab": {)" + vocab +
          R"(}}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}})",
      "pieces");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return *std::move(tokenizer);
}

class OutputTextTest : public testing::Test {
 protected:
  // What Push returned for each id until it stopped, then what Flush returned.
  std::vector<std::string> Stream(const std::vector<std::string>& stop,
                                  const std::vector<std::int32_t>& ids) {
    OutputText output(tokenizer_.get(), stop);
    std::vector<std::string> pieces;
    std::string all;
    for (std::int32_t id : ids) {
      if (!output.stopped()) pieces.push_back(output.Push(id));
    }
    pieces.push_back(output.Flush());
    for (const std::string& piece : pieces) all += piece;
    EXPECT_EQ(output.text(), all) << "the text is what was streamed";
    stopped_ = output.stopped();
    return pieces;
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = PieceTokenizer();
  bool stopped_ = false;
};

TEST_F(OutputTextTest, ACharacterIsNeverSplit) {
  EXPECT_THAT(Stream({}, {0, kEuro[0], kEuro[1], kEuro[2], 1}),
              ElementsAre("a", "", "", "\xe2\x82\xac", "b", ""));
  EXPECT_THAT(Stream({}, {11, 12, 13}), ElementsAre("", "", "\xf0\x9f\x98\x80", ""));
}

TEST_F(OutputTextTest, AnUnfinishedCharacterEndsAsAReplacement) {
  EXPECT_THAT(Stream({}, {0, kEuro[0], kEuro[1]}), ElementsAre("a", "", "", "\xef\xbf\xbd"));
  EXPECT_THAT(Stream({}, {kEuro[0], 0}), ElementsAre("",
                                                     "\xef\xbf\xbd"
                                                     "a",
                                                     ""));
}

TEST_F(OutputTextTest, WithoutStopStringsNothingIsHeldBack) {
  EXPECT_THAT(Stream({}, {0, 2, 6, 7}), ElementsAre("a", "EN", "D", "\n\n", ""));
  EXPECT_FALSE(stopped_);
}

TEST_F(OutputTextTest, AStopStringOverSeveralPiecesIsNotShown) {
  EXPECT_THAT(Stream({"END"}, {0, 2, 6}), ElementsAre("a", "", "", ""));
  EXPECT_TRUE(stopped_);
  EXPECT_THAT(Stream({"\n\nUser:"}, {0, 7, 8, 9}), ElementsAre("a", "", "", "", ""));
  EXPECT_TRUE(stopped_);
}

TEST_F(OutputTextTest, NothingAfterAStopStringIsShown) {
  EXPECT_THAT(Stream({"END"}, {1, 10}), ElementsAre("b", "", ""));
  EXPECT_TRUE(stopped_);
}

TEST_F(OutputTextTest, WhatWasHeldBackForNothingIsShown) {
  EXPECT_THAT(Stream({"END"}, {2, 0, 1}), ElementsAre("", "ENa", "b", ""));
  // "aab" is the begin of none, "ab" of its end is.
  EXPECT_THAT(Stream({"abEN"}, {0, 14, 6}), ElementsAre("", "a", "abD", ""));
  EXPECT_FALSE(stopped_);
}

TEST_F(OutputTextTest, TheEndShowsWhatWasHeldBack) {
  EXPECT_THAT(Stream({"END"}, {0, 2}), ElementsAre("a", "", "EN"));
  EXPECT_FALSE(stopped_);
  EXPECT_THAT(Stream({"END"}, {2, kEuro[0]}), ElementsAre("", "", "EN\xef\xbf\xbd"));
}

TEST_F(OutputTextTest, TheFirstOfSeveralStopStringsCuts) {
  EXPECT_THAT(Stream({"x", "END"}, {0, 10}), ElementsAre("a", "", ""));
  EXPECT_THAT(Stream({"END", "x"}, {0, 10}), ElementsAre("a", "", ""));
  EXPECT_THAT(Stream({"END", "User"}, {7, 8}), ElementsAre("\n\n", "", ""));
  // The longest begin of any of them is held back.
  EXPECT_THAT(Stream({"ba", "abEN", "bD"}, {14, 6}), ElementsAre("", "a", ""));
  EXPECT_TRUE(stopped_);
}

TEST_F(OutputTextTest, AStopStringMayCutWithinAPieceOrBeOneCharacter) {
  EXPECT_THAT(Stream({"D"}, {10}), ElementsAre("EN", ""));
  EXPECT_THAT(Stream({"\xe2\x82\xac"}, {0, kEuro[0], kEuro[1], kEuro[2]}),
              ElementsAre("a", "", "", "", ""));
  EXPECT_TRUE(stopped_);
}

TEST_F(OutputTextTest, AnEmptyStopStringStopsNothing) {
  EXPECT_THAT(Stream({""}, {0, 1}), ElementsAre("a", "b", ""));
  EXPECT_FALSE(stopped_);
}

TEST_F(OutputTextTest, WithoutATokenizerThereIsNoText) {
  OutputText output(nullptr, {"END"});
  EXPECT_EQ(output.Push(0), "");
  EXPECT_EQ(output.Flush(), "");
  EXPECT_FALSE(output.stopped());
}

}  // namespace
}  // namespace esa
