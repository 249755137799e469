// The prose that needles are hidden in. Private to eval.
//
// Threading: EssayFile is immutable; an Essay belongs to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "esa/result.h"

namespace esa::ruler {

using SentenceSource = std::function<std::string(SplitMix64*)>;

// One neutral sentence of the word lists.
std::string BuiltInSentence(SplitMix64* rng);

struct EssayWord {
  std::string text;
  bool ends_sentence = false;
};

// The words between any white space. A sentence ends with a full stop, an exclamation or a question
// mark, also before closing quotes and brackets, where what follows does not go on in lower case.
std::vector<EssayWord> SplitEssay(std::string_view text);

// A text file; of a name that ends in .json, the field "text" of the object in it, as in RULER's
// PaulGrahamEssays.json. Errors name the file; no words are one.
Result<std::vector<EssayWord>> ReadEssay(const std::string& path);

// Prose of any length: the words of a file over and over, or sentences drawn one after the other.
class Essay {
 public:
  // `file` is empty where `source` is to be used. Keeps references to both.
  Essay(const std::vector<EssayWord>& file, const SentenceSource& source, SplitMix64 rng);

  // The sentences that the first `num_words` words make up; the last may be unfinished.
  std::vector<std::string> Sentences(std::int64_t num_words);

 private:
  const EssayWord& Word(std::size_t index);

  const std::vector<EssayWord>& file_;
  const SentenceSource& source_;
  SplitMix64 rng_;
  std::vector<EssayWord> drawn_;
};

}  // namespace esa::ruler
