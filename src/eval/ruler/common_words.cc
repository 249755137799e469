#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "eval/ruler/families.h"
#include "eval/ruler/word_lists.h"

namespace esa::ruler {
namespace {

constexpr std::size_t kNumCommon = 10;

struct Repeats {
  std::int64_t common = 0;
  std::int64_t others = 0;
};

// From here on RULER repeats more often.
constexpr std::int64_t kLongTokens = 4096;
constexpr Repeats kLong = {30, 3};
constexpr Repeats kShort = {6, 1};

std::vector<std::string> SingleWords() {
  std::vector<std::string> words;
  for (const auto list : {Adjectives(), Nouns(), CommonWords()}) {
    words.insert(words.end(), list.begin(), list.end());
  }
  return words;
}

std::vector<std::string> CompoundWords() {
  std::vector<std::string> words;
  for (const std::string& first : SingleWords()) {
    for (const std::string_view second : Nouns()) {
      if (first != second) words.push_back(fmt::format("{}-{}", first, second));
    }
  }
  return words;
}

// "1. word 2. word" with each word as often as it is due, in random order.
std::string NumberedList(const std::vector<std::string>& words, std::size_t size, Repeats repeats,
                         SplitMix64 rng) {
  std::vector<const std::string*> list;
  for (std::size_t i = 0; i < size; ++i) {
    const std::int64_t times = i < kNumCommon ? repeats.common : repeats.others;
    list.insert(list.end(), static_cast<std::size_t>(times), &words[i]);
  }
  Shuffle(&list, &rng);
  std::string text;
  for (std::size_t i = 0; i < list.size(); ++i) {
    fmt::format_to(std::back_inserter(text), "{}{}. {}", i == 0 ? "" : " ", i + 1, *list[i]);
  }
  return text;
}

std::string Context(const std::string& list) {
  return "Below is a numbered list of words. In these words, some appear more often than others. "
         "Memorize the ones that appear most often.\n" +
         list;
}

constexpr std::string_view kQuestion =
    "Question: What are the 10 most common words in the above list? Answer: The top 10 words that "
    "appear most often in the list are:";

// Sizes are numbers of different words, the common ones first.
class CommonWordsList : public LongText {
 public:
  CommonWordsList(std::int64_t tokens, SplitMix64 rng)
      : repeats_(tokens < kLongTokens ? kShort : kLong),
        singles_(SingleWords()),
        compounds_(CompoundWords()) {
    example_ = WorkedExample(tokens, &rng);
    Shuffle(&singles_, &rng);
    Shuffle(&compounds_, &rng);
    order_seed_ = rng.Next();
  }

  std::int64_t smallest() const override { return kNumCommon; }
  std::int64_t largest() const override { return static_cast<std::int64_t>(compounds_.size()); }

  // A list that the single words do not suffice for is of compound words altogether: RULER changes
  // to a larger dictionary there.
  Parts Build(std::int64_t size) override {
    const auto num_words = static_cast<std::size_t>(size);
    const std::vector<std::string>& words = num_words <= singles_.size() ? singles_ : compounds_;
    const std::string list = NumberedList(words, num_words, repeats_, SplitMix64(order_seed_));
    return {.context = example_ + Context(list),
            .input = std::string(kQuestion),
            .answers = {words.begin(), words.begin() + kNumCommon}};
  }

 private:
  std::string WorkedExample(std::int64_t tokens, SplitMix64* rng) const {
    const bool is_short = tokens < kLongTokens;
    std::vector<std::string> words = SingleWords();
    Shuffle(&words, rng);
    const std::string list =
        NumberedList(words, is_short ? 20 : 40, is_short ? Repeats{3, 1} : Repeats{10, 3},
                     SplitMix64(rng->Next()));
    std::string answer;
    for (std::size_t i = 0; i < kNumCommon; ++i) answer += fmt::format(" {}. {}", i + 1, words[i]);
    return fmt::format("{}\n{}{}\n", Context(list), kQuestion, answer);
  }

  Repeats repeats_;
  std::vector<std::string> singles_;
  std::vector<std::string> compounds_;
  std::string example_;
  std::uint64_t order_seed_ = 0;
};

}  // namespace

std::unique_ptr<LongText> MakeCommonWords(std::int64_t tokens, SplitMix64 rng) {
  return std::make_unique<CommonWordsList>(tokens, rng);
}

}  // namespace esa::ruler
