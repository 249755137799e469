#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "eval/ruler/families.h"

namespace esa::ruler {
namespace {

constexpr std::size_t kNumHops = 4;
// RULER's worked example has at most so many tokens. Here it never takes more than a quarter.
constexpr std::int64_t kExampleTokens = 500;

class VariableChain : public LongText {
 public:
  // `before` stands before everything else.
  VariableChain(std::string before, int name_letters, SplitMix64 rng)
      : before_(std::move(before)), value_(fmt::format("{}", 10000 + rng.Below(89999))) {
    variables_ = DrawDifferent(kNumHops + 1, [&] { return DrawName(name_letters, &rng); });
    places_seed_ = rng.Next();
  }

  std::int64_t smallest() const override { return kNumHops + 1; }

  Parts Build(std::int64_t size) override {
    Parts parts{.context = before_, .input = Question(), .answers = variables_};
    parts.context +=
        "Memorize and track the chain(s) of variable assignment hidden in the following "
        "text.\n\n";
    SplitMix64 rng(places_seed_);
    std::vector<std::int64_t> places =
        Sample(size, static_cast<std::int64_t>(variables_.size()), &rng);
    std::sort(places.begin(), places.end());
    std::vector<std::string> lines;
    for (std::int64_t i = 0; i < size; ++i) {
      const auto place = std::find(places.begin(), places.end(), i);
      if (place != places.end()) lines.push_back(Assignment(place - places.begin()));
      lines.emplace_back(kNoiseLine);
    }
    parts.context += fmt::format("{}", fmt::join(lines, "\n"));
    return parts;
  }

 private:
  static std::string DrawName(int letters, SplitMix64* rng) {
    std::string name = DrawLetters('A', letters, rng);
    while (name == "VAR") name = DrawLetters('A', letters, rng);
    return name;
  }

  // RULER leaves a space after what is set to a variable.
  std::string Assignment(std::int64_t hop) const {
    const auto at = static_cast<std::size_t>(hop);
    if (at == 0) return fmt::format("VAR {} = {}", variables_[0], value_);
    return fmt::format("VAR {} = VAR {} ", variables_[at], variables_[at - 1]);
  }

  std::string Question() const {
    return fmt::format(
        "Question: Find all variables that are assigned the value {0} in the text above. Answer: "
        "According to the chain(s) of variable assignment in the text above, {1} variables are "
        "assigned the value {0}, they are: ",
        value_, variables_.size());
  }

  std::string before_;
  std::string value_;
  std::vector<std::string> variables_;  // in the order in which they are set
  std::uint64_t places_seed_ = 0;
};

// A short text of the same kind with its answer.
std::string WorkedExample(std::int64_t tokens, SplitMix64 rng, const PartsCounter& count) {
  VariableChain chain("", 3, rng);
  const Parts example = FillTo(std::min(kExampleTokens, tokens / 4), count, &chain).parts;
  return fmt::format("{}\n{} {}\n\n", example.context, example.input,
                     fmt::join(example.answers, " "));
}

}  // namespace

std::unique_ptr<LongText> MakeVariableChain(std::int64_t tokens, SplitMix64 rng,
                                            const PartsCounter& count) {
  const SplitMix64 example_rng(rng.Next());
  return std::make_unique<VariableChain>(WorkedExample(tokens, example_rng, count), 5, rng);
}

}  // namespace esa::ruler
