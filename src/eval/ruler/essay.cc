#include "eval/ruler/essay.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "eval/ruler/word_lists.h"

namespace esa::ruler {
namespace {

constexpr std::string_view kSpace = " \t\n\v\f\r";

// {a} stands for an adjective, {n} for a noun.
constexpr std::string_view kSentences[] = {
    "The {a} {n} stood near the {n}.",
    "One {a} {n} and one {n} were left beside the {n}.",
    "Nobody had seen the {n} since the {n} was painted.",
    "In the evening the {n} looked like the {a} {n}.",
    "They talked about the {n} for a while, and then about the {a} {n}.",
    "Behind the {n} there was one {a} {n} with the {n} on top.",
    "Some people prefer the {n}, others the {a} {n}.",
    "The story of the {a} {n} is told in every village near the {n}.",
    "It was not the {n} that mattered but the {a} {n} next to it.",
    "Every morning she carried the {n} past the {a} {n}.",
    "He wrote a letter about the {n}, the {n} and the {a} {n}.",
    "Without the {n} the {a} {n} would not be there.",
    "The road to the {a} {n} is closed in winter.",
    "A picture of the {n} hung above the {a} {n}.",
};

// The last character of `word` before closing quotes and brackets, ASCII and curly.
char LastBeforeClosing(std::string_view word) {
  constexpr std::array<std::string_view, 6> kClosing = {"\"", "'", ")", "]", "\u201d", "\u2019"};
  const auto closed = [&] {
    return std::find_if(kClosing.begin(), kClosing.end(),
                        [&](std::string_view mark) { return word.ends_with(mark); });
  };
  for (auto mark = closed(); mark != kClosing.end(); mark = closed()) {
    word.remove_suffix(mark->size());
  }
  return word.empty() ? '\0' : word.back();
}

bool IsInitial(std::string_view word) {
  return word.size() == 2 && word[0] >= 'A' && word[0] <= 'Z' && word[1] == '.';
}

bool EndsSentence(std::string_view word, std::string_view next) {
  const char last = LastBeforeClosing(word);
  const bool lower = !next.empty() && next[0] >= 'a' && next[0] <= 'z';
  return (last == '.' || last == '!' || last == '?') && !lower && !IsInitial(word);
}

}  // namespace

std::string BuiltInSentence(SplitMix64* rng) {
  std::string_view form = kSentences[rng->Below(std::size(kSentences))];
  std::string sentence;
  for (auto open = form.find('{'); open != std::string_view::npos; open = form.find('{')) {
    const auto words = form[open + 1] == 'a' ? Adjectives() : Nouns();
    sentence += form.substr(0, open);
    sentence += words[rng->Below(words.size())];
    form.remove_prefix(open + 3);
  }
  sentence += form;
  return sentence;
}

std::vector<EssayWord> SplitEssay(std::string_view text) {
  std::vector<EssayWord> words;
  for (auto begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;
       begin = text.find_first_not_of(kSpace)) {
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kSpace));
    text.remove_prefix(word.size());
    if (!words.empty()) words.back().ends_sentence = EndsSentence(words.back().text, word);
    words.push_back({std::string(word)});
  }
  if (!words.empty()) words.back().ends_sentence = true;
  return words;
}

Result<std::vector<EssayWord>> ReadEssay(const std::string& path) {
  ESA_ASSIGN_OR_RETURN(std::string text, ReadWholeFile(path));
  if (path.ends_with(".json")) {
    try {
      text = nlohmann::json::parse(text).at("text").get<std::string>();
    } catch (const nlohmann::json::exception& e) {
      return DataError(fmt::format("{}: expected an object {{\"text\": \"...\"}}: {}", path,
                                   JsonErrorText(e.what())));
    }
  }
  std::vector<EssayWord> words = SplitEssay(text);
  if (words.empty()) return DataError(path + ": no words in it");
  return words;
}

Essay::Essay(const std::vector<EssayWord>& file, const SentenceSource& source, SplitMix64 rng)
    : file_(file), source_(source), rng_(rng) {}

const EssayWord& Essay::Word(std::size_t index) {
  if (!file_.empty()) return file_[index % file_.size()];
  while (drawn_.size() <= index) {
    std::vector<EssayWord> sentence = SplitEssay(source_(&rng_));
    if (sentence.empty()) sentence = SplitEssay(BuiltInSentence(&rng_));
    drawn_.insert(drawn_.end(), sentence.begin(), sentence.end());
  }
  return drawn_[index];
}

std::vector<std::string> Essay::Sentences(std::int64_t num_words) {
  std::vector<std::string> sentences;
  bool begins = true;
  for (std::int64_t i = 0; i < num_words; ++i) {
    const EssayWord& word = Word(static_cast<std::size_t>(i));
    if (begins) {
      sentences.push_back(word.text);
    } else {
      sentences.back() += " " + word.text;
    }
    begins = word.ends_sentence;
  }
  return sentences;
}

}  // namespace esa::ruler
