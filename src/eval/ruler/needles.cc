#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "eval/ruler/families.h"

namespace esa::ruler {
namespace {

// RULER's depths in prose: 40 of them from 0 to 100 percent, as evenly as whole numbers allow.
constexpr std::int64_t kNumDepths = 40;
std::int64_t PercentOf(std::int64_t depth) {
  return (200 * depth + kNumDepths - 1) / (2 * (kNumDepths - 1));
}

struct Needle {
  std::string sentence;
  bool asked = false;
};

// Where a needle goes: before the piece of the haystack with this index.
struct Place {
  std::int64_t index = 0;
  const Needle* needle = nullptr;
};

class Needles : public LongText {
 public:
  Needles(const NeedleRequest& request, const std::vector<EssayWord>& file,
          const SentenceSource& source)
      : shape_(request.shape),
        depth_(request.depth),
        rng_(request.rng),
        essay_(file, source, SplitMix64(rng_.Next())),
        haystack_seed_(rng_.Next()),
        places_seed_(rng_.Next()) {
    DrawKeys();
    DrawQueries();
    Shuffle(&needles_, &rng_);
    percents_ = Sample(kNumDepths, static_cast<std::int64_t>(needles_.size()), &rng_);
    std::transform(percents_.begin(), percents_.end(), percents_.begin(), PercentOf);
    std::sort(percents_.begin(), percents_.end());
  }

  // Outside prose every needle has a line of its own to stand before.
  std::int64_t smallest() const override {
    return is_essay() ? 0 : static_cast<std::int64_t>(needles_.size());
  }

  Parts Build(std::int64_t size) override {
    const std::vector<std::string> haystack = Haystack(size);
    std::vector<Place> places =
        is_essay() ? PlacesInProse(haystack.size()) : PlacesBetweenLines(haystack.size());
    Parts parts{.context = Introduction(), .input = Question(), .answers = answers_};
    for (Place& place : places) {
      if (!has_one_answer() || !place.needle->asked) continue;
      const auto count = static_cast<double>(haystack.size());
      if (depth_) place.index = static_cast<std::int64_t>(*depth_ * count);
      parts.depth = depth_.value_or(count > 0 ? static_cast<double>(place.index) / count : 0.0);
    }
    std::stable_sort(places.begin(), places.end(),
                     [](const Place& a, const Place& b) { return a.index < b.index; });
    AppendText(haystack, places, &parts.context);
    return parts;
  }

 private:
  bool is_essay() const { return shape_.haystack == NeedleShape::Haystack::kEssay; }
  bool has_one_answer() const { return shape_.num_queries * shape_.num_values == 1; }

  std::string Sentence(std::string_view key, std::string_view value) const {
    return fmt::format("One of the special magic {} for {} is: {}.", PluralOf(shape_.values), key,
                       value);
  }

  void DrawKeys() {
    const auto num_keys = static_cast<std::size_t>(std::max(shape_.num_keys, shape_.num_queries));
    const auto num_values = static_cast<std::size_t>(shape_.num_values);
    keys_ = DrawDifferent(num_keys, [&] { return DrawValue(shape_.keys, &rng_); });
    values_ = DrawDifferent(num_keys * num_values, [&] { return DrawValue(shape_.values, &rng_); });
  }

  void DrawQueries() {
    const auto num_keys = static_cast<std::int64_t>(keys_.size());
    const std::vector<std::int64_t> asked = Sample(num_keys, shape_.num_queries, &rng_);
    std::vector<std::string> queries;
    for (const std::int64_t key : asked) {
      queries.push_back(keys_[static_cast<std::size_t>(key)]);
      for (std::int64_t i = 0; i < shape_.num_values; ++i) answers_.push_back(ValueOf(key, i));
    }
    for (std::int64_t key = 0; key < num_keys; ++key) {
      const bool is_asked = std::find(asked.begin(), asked.end(), key) != asked.end();
      for (std::int64_t i = 0; i < shape_.num_values; ++i) {
        needles_.push_back(
            {Sentence(keys_[static_cast<std::size_t>(key)], ValueOf(key, i)), is_asked});
      }
    }
    const std::string last = queries.back();
    queries.pop_back();
    query_ = queries.empty() ? last : fmt::format("{}, and {}", fmt::join(queries, ", "), last);
  }

  const std::string& ValueOf(std::int64_t key, std::int64_t value) const {
    return values_[static_cast<std::size_t>(key * shape_.num_values + value)];
  }

  std::vector<std::string> Haystack(std::int64_t size) {
    if (is_essay()) return essay_.Sentences(size);
    if (shape_.haystack == NeedleShape::Haystack::kNoise) {
      return std::vector<std::string>(static_cast<std::size_t>(size), std::string(kNoiseLine));
    }
    // From its own stream, so that a longer haystack begins with the shorter one.
    SplitMix64 rng(haystack_seed_);
    std::vector<std::string> lines;
    while (static_cast<std::int64_t>(lines.size()) < size) {
      const std::string key = DrawValue(shape_.keys, &rng);
      const std::string value = DrawValue(shape_.values, &rng);
      // A second value of a key that is asked for would make its answer ambiguous.
      if (std::find(keys_.begin(), keys_.end(), key) == keys_.end()) {
        lines.push_back(Sentence(key, value));
      }
    }
    return lines;
  }

  std::vector<Place> PlacesInProse(std::size_t num_sentences) const {
    std::vector<Place> places;
    for (std::size_t i = 0; i < needles_.size(); ++i) {
      places.push_back(
          {static_cast<std::int64_t>(num_sentences) * percents_[i] / 100, &needles_[i]});
    }
    return places;
  }

  std::vector<Place> PlacesBetweenLines(std::size_t num_lines) const {
    SplitMix64 rng(places_seed_);
    const std::vector<std::int64_t> indices = Sample(
        static_cast<std::int64_t>(num_lines), static_cast<std::int64_t>(needles_.size()), &rng);
    std::vector<Place> places;
    for (std::size_t i = 0; i < needles_.size(); ++i) places.push_back({indices[i], &needles_[i]});
    return places;
  }

  void AppendText(const std::vector<std::string>& haystack, const std::vector<Place>& places,
                  std::string* out) const {
    const char separator = is_essay() ? ' ' : '\n';
    const std::size_t begin = out->size();
    const auto append = [&](std::string_view piece) {
      if (out->size() > begin) *out += separator;
      *out += piece;
    };
    auto place = places.begin();
    for (std::size_t i = 0; i <= haystack.size(); ++i) {
      for (; place != places.end() && place->index <= static_cast<std::int64_t>(i); ++place) {
        append(place->needle->sentence);
      }
      if (i < haystack.size()) append(haystack[i]);
    }
  }

  std::string Introduction() const {
    const std::string_view plural = PluralOf(shape_.values);
    const std::string_view noun = has_one_answer() ? plural.substr(0, plural.size() - 1) : plural;
    return fmt::format(
        "{0} special magic {1} {2} hidden within the following text. Make sure to memorize it. I "
        "will quiz you about the {1} afterwards.\n",
        has_one_answer() ? "A" : "Some", noun, has_one_answer() ? "is" : "are");
  }

  std::string Question() const {
    const std::string_view plural = PluralOf(shape_.values);
    const std::string_view noun = has_one_answer() ? plural.substr(0, plural.size() - 1) : plural;
    return fmt::format(
        "What {0} the special magic {1} for {2} mentioned in the provided text? The special magic "
        "{1} for {2} mentioned in the provided text {3}",
        has_one_answer() ? "is" : "are all", noun, query_, has_one_answer() ? "is" : "are");
  }

  NeedleShape shape_;
  std::optional<double> depth_;
  SplitMix64 rng_;
  Essay essay_;
  std::uint64_t haystack_seed_;
  std::uint64_t places_seed_;
  std::vector<std::string> keys_;
  std::vector<std::string> values_;  // num_values of each key
  std::vector<Needle> needles_;
  std::vector<std::int64_t> percents_;  // ascending, one a needle
  std::string query_;
  std::vector<std::string> answers_;
};

}  // namespace

std::unique_ptr<LongText> MakeNeedles(const NeedleRequest& request,
                                      const std::vector<EssayWord>& file,
                                      const SentenceSource& source) {
  return std::make_unique<Needles>(request, file, source);
}

}  // namespace esa::ruler
