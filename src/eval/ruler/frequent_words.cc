#include <algorithm>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "eval/ruler/families.h"

namespace esa::ruler {
namespace {

constexpr int kWordLetters = 6;
// The word that is most frequent stands for noise and is not asked for.
constexpr std::string_view kNoise = "...";
constexpr double kZetaOf2 = 1.6449340668482264;  // pi^2 / 6

// Sizes are numbers of words drawn; of the word of rank k, size / (k^2 zeta(2)) come out, rounded
// down.
class FrequentWords : public LongText {
 public:
  FrequentWords(std::int64_t tokens, SplitMix64 rng) {
    // RULER has a word for every 50 tokens.
    const auto num_words = static_cast<std::size_t>(std::max<std::int64_t>(8, tokens / 50));
    std::unordered_set<std::string> known;
    words_.emplace_back(kNoise);
    while (words_.size() < num_words) {
      std::string word = DrawLetters('a', kWordLetters, &rng);
      if (known.insert(word).second) words_.push_back(std::move(word));
    }
    order_seed_ = rng.Next();
  }

  // From here on the fourth word is always more frequent than the fifth.
  std::int64_t smallest() const override { return 53; }

  Parts Build(std::int64_t size) override {
    std::vector<const std::string*> drawn;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const auto rank = static_cast<double>(i + 1);
      const double times = static_cast<double>(size) / (rank * rank) / kZetaOf2;
      drawn.insert(drawn.end(), static_cast<std::size_t>(times), &words_[i]);
    }
    SplitMix64 rng(order_seed_);
    Shuffle(&drawn, &rng);
    Parts parts{.context =
                    "Read the following coded text and track the frequency of each coded word. "
                    "Find the three most frequently appeared coded words.",
                .input =
                    "Question: Do not provide any explanation. Please ignore the dots '....'. What "
                    "are the three most frequently appeared words in the above coded text? Answer: "
                    "According to the coded text above, the three most frequently appeared words "
                    "are:",
                .answers = {words_.begin() + 1, words_.begin() + 4}};
    for (const std::string* word : drawn) {
      parts.context += ' ';
      parts.context += *word;
    }
    return parts;
  }

 private:
  std::vector<std::string> words_;  // by rank
  std::uint64_t order_seed_ = 0;
};

}  // namespace

std::unique_ptr<LongText> MakeFrequentWords(std::int64_t tokens, SplitMix64 rng) {
  return std::make_unique<FrequentWords>(tokens, rng);
}

}  // namespace esa::ruler
