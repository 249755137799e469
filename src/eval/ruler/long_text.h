// Texts that can be made longer or shorter, and how one is fitted to a number of tokens. Private
// to eval.
//
// Threading: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace esa::ruler {

// What a record holds of one prompt.
struct Parts {
  std::string context;  // what introduces the text, and the text
  std::string input;    // the question and the beginning of its answer
  std::vector<std::string> answers;
  std::optional<double> depth = {};  // where the one needle asked for stands: 0 first, 1 last
};

// One prompt of a task in all its lengths.
class LongText {
 public:
  virtual ~LongText() = default;

  // Sizes are numbers of whatever the text consists of: words, lines, documents.
  virtual std::int64_t smallest() const = 0;
  virtual std::int64_t largest() const { return std::int64_t{1} << 31; }

  // Equal sizes give equal parts. Each unit of size is half a token at least.
  virtual Parts Build(std::int64_t size) = 0;
};

struct Filled {
  Parts parts;
  std::int64_t tokens = 0;
};

// The parts of the largest size with at most `budget` tokens, as `tokens_of` counts them; those of
// the smallest size where even these have more.
Filled FillTo(std::int64_t budget, const std::function<std::int64_t(const Parts&)>& tokens_of,
              LongText* text);

}  // namespace esa::ruler
