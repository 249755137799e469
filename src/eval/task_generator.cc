#include "eval/task_generator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "base/status_macros.h"
#include "eval/prompt_template.h"
#include "eval/ruler/ruler_tasks.h"
#include "eval/tasks/task_text.h"

namespace esa {
namespace {

// One stream of numbers for each task, length and record of a seed. The depth is not part of it:
// a sweep over depths moves one fact through the same text.
SplitMix64 StreamOf(const TaskRequest& request) {
  std::uint64_t mixed = SplitMix64(request.seed).Next();
  for (const char c : request.task)
    mixed = SplitMix64(mixed ^ static_cast<unsigned char>(c)).Next();
  mixed = SplitMix64(mixed ^ static_cast<std::uint64_t>(request.tokens)).Next();
  return SplitMix64(mixed ^ request.index);
}

// Fills a budget of tokens with facts and filler.
class ContextBuilder {
 public:
  ContextBuilder(const TaskText& text, const TokenCounter& count, SplitMix64* rng)
      : text_(text), count_(count), rng_(rng) {}

  // The fact that will be asked for; always in the context.
  const Fact& Ask() {
    asked_ = text_.DrawFact("", "", rng_);
    pairs_.emplace(asked_.attribute, asked_.name);
    used_ = TokensOf(text_.Sentence(asked_));
    return asked_;
  }
  std::int64_t used() const { return used_; }

  void AddFacts(const TaskShape& shape, std::int64_t budget) {
    const auto share = static_cast<std::int64_t>(shape.fact_share * static_cast<double>(budget));
    // Near the last pair almost every draw repeats one.
    const std::int64_t most_pairs = text_.num_pairs() / 2;
    for (std::int64_t i = 0;; ++i) {
      const bool enough = shape.fact_share > 0 ? used_ >= share : i + 1 >= shape.facts;
      if (enough || static_cast<std::int64_t>(pairs_.size()) >= most_pairs) return;
      const bool same_attribute = i < shape.same_attribute;
      const bool same_name = !same_attribute && i < shape.same_attribute + shape.same_name;
      const auto fact =
          DrawNew(same_attribute ? asked_.attribute : "", same_name ? asked_.name : "");
      if (!fact || !Add(text_.Sentence(*fact), budget)) return;
    }
  }

  void AddFiller(std::int64_t budget) {
    while (Add(text_.Filler(rng_), budget)) {
    }
  }

  // The sentences in random order, the asked fact at `depth`.
  std::string Join(double depth) {
    for (std::size_t i = sentences_.size(); i > 1; --i) {
      std::swap(sentences_[i - 1], sentences_[rng_->Below(i)]);
    }
    const auto place = std::llround(depth * static_cast<double>(sentences_.size()));
    sentences_.insert(sentences_.begin() + place, text_.Sentence(asked_));
    return fmt::format("{}", fmt::join(sentences_, " "));
  }

 private:
  std::int64_t TokensOf(const std::string& sentence) const { return count_(" " + sentence); }

  bool Add(std::string sentence, std::int64_t budget) {
    const std::int64_t tokens = TokensOf(sentence);
    if (used_ + tokens > budget) return false;
    used_ += tokens;
    sentences_.push_back(std::move(sentence));
    return true;
  }

  // A fact about a new pair of attribute and name; none when they seem to be used up.
  std::optional<Fact> DrawNew(const std::string& attribute, const std::string& name) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      Fact fact = text_.DrawFact(attribute, name, rng_);
      if (pairs_.emplace(fact.attribute, fact.name).second) return fact;
    }
    return std::nullopt;
  }

  const TaskText& text_;
  const TokenCounter& count_;
  SplitMix64* rng_;
  Fact asked_;
  std::int64_t used_ = 0;
  std::set<std::pair<std::string, std::string>> pairs_;
  std::vector<std::string> sentences_;
};

// A fact's task may be asked for in another form: NAME_sentence, which wants the fact repeated.
constexpr std::string_view kSentenceForm = "_sentence";

bool WantsSentence(std::string_view task) { return task.ends_with(kSentenceForm); }

std::string ShapeName(const std::string& task) {
  return WantsSentence(task) ? task.substr(0, task.size() - kSentenceForm.size()) : task;
}

std::int64_t CountWords(std::string_view text) {
  return text.empty() ? 0 : 1 + std::count(text.begin(), text.end(), ' ');
}

}  // namespace

TaskGenerator::TaskGenerator(std::unique_ptr<TaskText> text,
                             std::unique_ptr<ruler::RulerTasks> ruler)
    : text_(std::move(text)), ruler_(std::move(ruler)) {}
TaskGenerator::~TaskGenerator() = default;
TaskGenerator::TaskGenerator(TaskGenerator&&) noexcept = default;

Result<TaskGenerator> TaskGenerator::Open(const TaskSources& sources) {
  std::unique_ptr<TaskText> text;
  ruler::SentenceSource filler = ruler::BuiltInSentence;
  std::error_code ignored;
  if (std::filesystem::exists(sources.tasks_json, ignored)) {
    ESA_ASSIGN_OR_RETURN(TaskText loaded, TaskText::Load(sources.tasks_json));
    text = std::make_unique<TaskText>(std::move(loaded));
    filler = [words = text.get()](SplitMix64* rng) { return words->Filler(rng); };
  }
  ESA_ASSIGN_OR_RETURN(ruler::RulerTasks tasks,
                       ruler::RulerTasks::Open(sources.haystack, sources.qa_data, filler));
  return TaskGenerator(std::move(text), std::make_unique<ruler::RulerTasks>(std::move(tasks)));
}

Result<TaskGenerator> TaskGenerator::Load(const std::string& tasks_json) {
  ESA_ASSIGN_OR_RETURN(TaskGenerator generator, Open({.tasks_json = tasks_json}));
  if (generator.text_ == nullptr) return TaskText::Load(tasks_json).error();
  return generator;
}

std::vector<std::string> TaskGenerator::Tasks() const {
  std::vector<std::string> names;
  if (text_ != nullptr) {
    for (const auto& [name, shape] : text_->tasks()) {
      names.push_back(name);
      names.push_back(name + std::string(kSentenceForm));
    }
  }
  for (std::string& name : RulerTaskNames()) names.push_back(std::move(name));
  return names;
}

std::vector<std::string> TaskGenerator::RulerTaskNames() { return ruler::RulerTasks::Names(); }

bool TaskGenerator::IsRulerTask(const std::string& task) { return ruler::RulerTasks::Has(task); }

bool TaskGenerator::CanMake(const std::string& task) const {
  return ruler_->CanMake(task) || (text_ != nullptr && text_->tasks().contains(ShapeName(task)));
}

Result<Record> TaskGenerator::Generate(const TaskRequest& request,
                                       const TokenCounter& count) const {
  if (IsRulerTask(request.task)) {
    return ruler_->Generate(request, StreamOf(request), count);
  }
  if (CanMake(request.task)) return GenerateFact(request, count);
  return InvalidArgument(fmt::format("task \"{}\" is not known; known are: {}", request.task,
                                     fmt::join(Tasks(), ", ")));
}

Result<Record> TaskGenerator::GenerateFact(const TaskRequest& request,
                                           const TokenCounter& count) const {
  SplitMix64 rng = StreamOf(request);
  ContextBuilder builder(*text_, count, &rng);
  const Fact asked = builder.Ask();
  Record record{
      .input = text_->Question(asked),
      .context = {},
      .answers = {WantsSentence(request.task) ? text_->Sentence(asked) : asked.value},
      .all_classes = {},
      .length = 0,
      .dataset = request.task,
      .language = "en",
      .id = fmt::format("{}-{}-{}-{}", request.task, request.tokens, request.seed, request.index)};
  ESA_ASSIGN_OR_RETURN(const Dataset dataset, FindDataset(request.task));
  const std::int64_t budget = request.tokens - count(FillPrompt(dataset.prompt_template, record));
  if (builder.used() > budget) {
    return InvalidArgument(
        fmt::format("task {}: {} tokens are too few; its fact and question need {}", request.task,
                    request.tokens, request.tokens - budget + builder.used()));
  }
  builder.AddFacts(text_->tasks().at(ShapeName(request.task)), budget);
  builder.AddFiller(budget);
  record.depth = std::clamp(request.depth.value_or(0.5), 0.0, 1.0);
  record.tokens = request.tokens;
  record.context = builder.Join(*record.depth);
  record.length = CountWords(record.context);
  return record;
}

Result<std::vector<Record>> TaskGenerator::GenerateMany(const TaskRequest& first,
                                                        std::int64_t num_records,
                                                        const TokenCounter& count) const {
  std::vector<Record> records;
  for (std::int64_t i = 0; i < num_records; ++i) {
    TaskRequest request = first;
    request.index = first.index + static_cast<std::uint64_t>(i);
    request.depth = (static_cast<double>(i) + 0.5) / static_cast<double>(num_records);
    ESA_ASSIGN_OR_RETURN(Record record, Generate(request, count));
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace esa
