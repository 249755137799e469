#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "eval/ruler/families.h"

namespace esa::ruler {
namespace {

constexpr std::string_view kTask =
    "Answer the question based on the given documents. Only give me the answer and do not output "
    "any other words.";

// Sizes are numbers of documents.
class Question : public LongText {
 public:
  Question(const QaData& data, std::size_t question, SplitMix64 rng)
      : data_(data), question_(data.questions[question]), documents_(question_.documents) {
    // Those that belong to the question, then what resembles them, then any.
    AddOthers(data.articles[question_.article], &rng);
    std::vector<std::size_t> all(data.documents.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    AddOthers(std::move(all), &rng);
    order_seed_ = rng.Next();
  }

  std::int64_t smallest() const override {
    return static_cast<std::int64_t>(question_.documents.size());
  }
  std::int64_t largest() const override { return static_cast<std::int64_t>(documents_.size()); }

  Parts Build(std::int64_t size) override {
    std::vector<std::size_t> documents(documents_.begin(), documents_.begin() + size);
    SplitMix64 rng(order_seed_);
    Shuffle(&documents, &rng);
    Parts parts{.context = fmt::format("{}\n\nThe following are given documents.", kTask),
                .input = fmt::format("{}\n\nQuestion: {} Answer:", kTask, question_.text),
                .answers = question_.answers};
    for (std::size_t i = 0; i < documents.size(); ++i) {
      fmt::format_to(std::back_inserter(parts.context), "\n\nDocument {}:\n{}", i + 1,
                     data_.documents[documents[i]]);
    }
    return parts;
  }

 private:
  void AddOthers(std::vector<std::size_t> others, SplitMix64* rng) {
    std::vector<bool> there(data_.documents.size());
    for (const std::size_t document : documents_) there[document] = true;
    Shuffle(&others, rng);
    for (const std::size_t document : others) {
      if (!there[document]) documents_.push_back(document);
      there[document] = true;
    }
  }

  const QaData& data_;
  const QaQuestion& question_;
  std::vector<std::size_t> documents_;  // in the order in which a longer text takes them
  std::uint64_t order_seed_ = 0;
};

}  // namespace

std::unique_ptr<LongText> MakeQuestion(const QaData& data, std::size_t question, SplitMix64 rng) {
  return std::make_unique<Question>(data, question, rng);
}

}  // namespace esa::ruler
