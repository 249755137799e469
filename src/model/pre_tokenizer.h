// Splits text into the pieces inside which BPE merges: the Split and ByteLevel pre-tokenizers of
// tokenizer.json.
//
// Text is bytes: where it is not UTF-8, the patterns see each such byte as the control character
// U+0001 (neither space, letter nor digit), and the pieces carry the bytes as they are.
//
// Threading: immutable after Compile; Split may run on any number of threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"

namespace esa {

// One step, applied to every piece that the steps before it made.
struct PreTokenizerStep {
  std::string pattern;        // a regular expression as Oniguruma reads it; empty: no split
  bool prefix_space = false;  // put a space before a piece that does not begin with one
  std::string field;          // where tokenizer.json says so, for messages
};

// The pattern of ByteLevel with `use_regex`, which is that of GPT-2.
std::string_view Gpt2SplitPattern();

// `text`, any string, as a pattern that matches exactly it.
std::string EscapePattern(std::string_view text);

class PreTokenizer {
 public:
  using PieceSink = std::function<void(std::string_view piece)>;

  // kDataError where a pattern does not compile, or uses what PCRE2 and Oniguruma read differently.
  static Result<PreTokenizer> Compile(const std::vector<PreTokenizerStep>& steps);

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Gives the pieces of `text` to `sink`, in order; a piece lives until `sink` returns. Matches and
  // what lies between them are pieces alike (behaviour Isolated), so nothing of the text is lost.
  void Split(std::string_view text, const PieceSink& sink) const;

 private:
  struct Steps;
  explicit PreTokenizer(std::unique_ptr<Steps> steps);
  std::unique_ptr<Steps> steps_;
};

}  // namespace esa
