#include "eval/ruler/ruler_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/status_macros.h"
#include "eval/datasets.h"
#include "eval/prompt_template.h"

namespace esa::ruler {
namespace {

enum class Family { kNeedles, kVariableChain, kCommonWords, kFrequentWords, kSquad, kHotpotQa };

using Haystack = NeedleShape::Haystack;

Record Assemble(const TaskRequest& request, Parts parts) {
  Record record{
      .input = std::move(parts.input),
      .context = std::move(parts.context),
      .answers = std::move(parts.answers),
      .all_classes = {},
      .length = 0,
      .dataset = request.task,
      .language = "en",
      .id = fmt::format("{}-{}-{}-{}", request.task, request.tokens, request.seed, request.index)};
  record.depth = parts.depth;
  record.tokens = request.tokens;
  return record;
}

}  // namespace

struct RulerTasks::Row {
  std::string_view name;
  Family family;
  NeedleShape needles = {};
};

// The parameters of RULER's scripts/synthetic.yaml.
const RulerTasks::Row RulerTasks::kRows[] = {
    {"niah_single_1", Family::kNeedles, {.haystack = Haystack::kNoise}},
    {"niah_single_2", Family::kNeedles, {.haystack = Haystack::kEssay}},
    {"niah_single_3",
     Family::kNeedles,
     {.haystack = Haystack::kEssay, .values = ValueKind::kUuids}},
    {"niah_multikey_1", Family::kNeedles, {.haystack = Haystack::kEssay, .num_keys = 4}},
    {"niah_multikey_2", Family::kNeedles, {.haystack = Haystack::kNeedles}},
    {"niah_multikey_3",
     Family::kNeedles,
     {.haystack = Haystack::kNeedles, .keys = ValueKind::kUuids, .values = ValueKind::kUuids}},
    {"niah_multivalue", Family::kNeedles, {.haystack = Haystack::kEssay, .num_values = 4}},
    {"niah_multiquery", Family::kNeedles, {.haystack = Haystack::kEssay, .num_queries = 4}},
    {"vt", Family::kVariableChain},
    {"cwe", Family::kCommonWords},
    {"fwe", Family::kFrequentWords},
    {"qa_1", Family::kSquad},
    {"qa_2", Family::kHotpotQa},
};

Result<RulerTasks> RulerTasks::Open(const std::string& haystack,
                                    std::span<const std::string> qa_data, SentenceSource filler) {
  RulerTasks tasks;
  tasks.filler_ = std::move(filler);
  if (!haystack.empty()) {
    ESA_ASSIGN_OR_RETURN(tasks.essay_, ReadEssay(haystack));
  }
  for (const std::string& path : qa_data) {
    ESA_ASSIGN_OR_RETURN(QaData data, ReadQaData(path));
    (data.format == QaData::Format::kSquad ? tasks.squad_ : tasks.hotpotqa_) = std::move(data);
  }
  return tasks;
}

const RulerTasks::Row* RulerTasks::Find(std::string_view name) {
  const auto row = std::find_if(std::begin(kRows), std::end(kRows),
                                [&](const Row& candidate) { return candidate.name == name; });
  return row == std::end(kRows) ? nullptr : row;
}

std::vector<std::string> RulerTasks::Names() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.emplace_back(row.name);
  return names;
}

bool RulerTasks::Has(std::string_view name) { return Find(name) != nullptr; }

bool RulerTasks::CanMake(std::string_view name) const {
  const Row* row = Find(name);
  if (row == nullptr) return false;
  return (row->family != Family::kSquad || squad_) &&
         (row->family != Family::kHotpotQa || hotpotqa_);
}

Result<const QaData*> RulerTasks::DataOf(const Row& row) const {
  const bool is_squad = row.family == Family::kSquad;
  const std::optional<QaData>& data = is_squad ? squad_ : hotpotqa_;
  if (data) return &*data;
  return InvalidArgument(
      fmt::format("task {0}: its questions are {1}'s: give --qa-data FILE, {1}'s JSON ({2})",
                  row.name, is_squad ? "SQuAD" : "HotpotQA",
                  is_squad ? "dev-v2.0.json" : "hotpot_dev_distractor_v1.json"));
}

Result<std::unique_ptr<LongText>> RulerTasks::Make(const Row& row, const TaskRequest& request,
                                                   SplitMix64 rng,
                                                   const PartsCounter& count) const {
  switch (row.family) {
    case Family::kNeedles:
      return MakeNeedles({.shape = row.needles, .depth = request.depth, .rng = rng}, essay_,
                         filler_);
    case Family::kVariableChain:
      return MakeVariableChain(request.tokens, rng, count);
    case Family::kCommonWords:
      return MakeCommonWords(request.tokens, rng);
    case Family::kFrequentWords:
      return MakeFrequentWords(request.tokens, rng);
    case Family::kSquad:
    case Family::kHotpotQa:
      break;
  }
  ESA_ASSIGN_OR_RETURN(const QaData* data, DataOf(row));
  if (request.index >= data->questions.size()) {
    return InvalidArgument(fmt::format("{}: has {} questions, but record {} was asked for",
                                       data->path, data->questions.size(), request.index + 1));
  }
  return MakeQuestion(*data, request.index, rng);
}

Result<Record> RulerTasks::Generate(const TaskRequest& request, SplitMix64 rng,
                                    const TokenCounter& count) const {
  ESA_ASSIGN_OR_RETURN(const Dataset dataset, FindDataset(request.task));
  const auto tokens_of = [&](const Parts& parts) {
    return count(FillPrompt(dataset.prompt_template, Assemble(request, parts)));
  };
  ESA_ASSIGN_OR_RETURN(const std::unique_ptr<LongText> text,
                       Make(*Find(request.task), request, rng, tokens_of));
  const std::int64_t budget = request.tokens - dataset.max_tokens;
  Filled filled = FillTo(budget, tokens_of, text.get());
  if (filled.tokens > budget) {
    return InvalidArgument(
        fmt::format("task {}: {} tokens are too few; its shortest prompt has {} and the answer {}",
                    request.task, request.tokens, filled.tokens, dataset.max_tokens));
  }
  Record record = Assemble(request, std::move(filled.parts));
  record.length = filled.tokens + dataset.max_tokens;
  return record;
}

}  // namespace esa::ruler
