#include "eval/ruler/essay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "eval/ruler/word_lists.h"

namespace esa::ruler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> SentencesOf(const std::string& text, std::int64_t num_words) {
  const std::vector<EssayWord> words = SplitEssay(text);
  const SentenceSource none = [](SplitMix64*) { return std::string(); };
  return Essay(words, none, SplitMix64(0)).Sentences(num_words);
}

TEST(Essay, EndsSentencesWhereProseDoes) {
  EXPECT_THAT(SentencesOf("One  is\n\nhere. \"Is it?\" he said. Mr J. Doe (no!) Yes.", 12),
              ElementsAre("One is here.", "\"Is it?\" he said.", "Mr J. Doe (no!)", "Yes."));
}

TEST(Essay, RepeatsAFileAndMayEndWithinASentence) {
  EXPECT_THAT(SentencesOf("A b. C d e", 8), ElementsAre("A b.", "C d e", "A b.", "C"));
  EXPECT_THAT(SentencesOf("A b.", 0), ElementsAre());
}

TEST(Essay, LongerBeginsWithShorter) {
  const std::vector<EssayWord> none;
  const SentenceSource source = BuiltInSentence;
  Essay essay(none, source, SplitMix64(7));
  const std::vector<std::string> longer = essay.Sentences(200);
  const std::vector<std::string> shorter = essay.Sentences(50);
  ASSERT_GT(shorter.size(), 3u);
  for (std::size_t i = 0; i + 1 < shorter.size(); ++i) EXPECT_EQ(shorter[i], longer[i]);
  EXPECT_EQ(Essay(none, source, SplitMix64(7)).Sentences(200), longer);
  EXPECT_NE(Essay(none, source, SplitMix64(8)).Sentences(200), longer);
}

TEST(Essay, ASourceThatSaysNothingIsReplaced) {
  const std::vector<EssayWord> none;
  const SentenceSource silent = [](SplitMix64*) { return std::string(" "); };
  EXPECT_EQ(Essay(none, silent, SplitMix64(1)).Sentences(30).empty(), false);
}

TEST(WordLists, AreDifferentLowerCaseWords) {
  std::set<std::string_view> all;
  for (const auto list : {Adjectives(), Nouns(), CommonWords()}) {
    for (const std::string_view word : list) {
      EXPECT_TRUE(all.insert(word).second) << word;
      EXPECT_EQ(word.find_first_not_of("abcdefghijklmnopqrstuvwxyz"), std::string_view::npos);
    }
  }
  EXPECT_EQ(Adjectives().size(), 96u);
  EXPECT_EQ(Nouns().size(), 192u);
}

TEST(ReadEssay, ReadsTextAndJsonAndNamesMistakes) {
  std::string folder = (std::filesystem::temp_directory_path() / "esa-essay-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const auto read = [&](const std::string& name, const std::string& content) {
    std::ofstream(folder + "/" + name) << content;
    return ReadEssay(folder + "/" + name);
  };
  EXPECT_EQ(read("a.txt", "One two.")->size(), 2u);
  EXPECT_EQ(read("a.json", R"({"text": "One two three."})")->size(), 3u);
  EXPECT_THAT(read("b.json", R"({"texts": 1})").error().message,
              HasSubstr("b.json: expected an object {\"text\": \"...\"}"));
  EXPECT_THAT(read("c.txt", " \n").error().message, HasSubstr("c.txt: no words in it"));
  EXPECT_THAT(ReadEssay(folder + "/none").error().message, HasSubstr("none"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace esa::ruler
