#include "eval/tasks/task_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"

namespace esa {
namespace {

constexpr const char* kDigits = "digits4";
constexpr const char* kNames = "names";

// `text` with every {slot} replaced by what `value_of` says.
std::string Fill(std::string_view text,
                 const std::function<std::string(const std::string&)>& value_of) {
  std::string out;
  while (!text.empty()) {
    const auto open = text.find('{');
    const auto close = open == std::string_view::npos ? open : text.find('}', open);
    if (close == std::string_view::npos) break;
    out += text.substr(0, open);
    out += value_of(std::string(text.substr(open + 1, close - open - 1)));
    text.remove_prefix(close + 1);
  }
  out += text;
  return out;
}

const std::string& Draw(const std::vector<std::string>& words, SplitMix64* rng) {
  return words[rng->Below(words.size())];
}

std::string FillFact(const std::string& text, const Fact& fact) {
  return Fill(text, [&](const std::string& slot) {
    if (slot == "attribute") return fact.attribute;
    if (slot == "name") return fact.name;
    return fact.value;
  });
}

// "{slot}" -> "slot"
Result<std::string> OnlySlot(const std::string& text) {
  if (text.size() > 2 && text.front() == '{' && text.find('}') == text.size() - 1) {
    return text.substr(1, text.size() - 2);
  }
  return DataError(fmt::format("fact.kinds: attribute: found \"{}\", expected one slot", text));
}

TaskShape ReadShape(const nlohmann::json& object) {
  TaskShape shape;
  shape.fact_share = object.value("fact_share", 0.0);
  shape.facts = object.value("facts", std::int64_t{1});
  shape.same_attribute = object.value("same_attribute", std::int64_t{0});
  shape.same_name = object.value("same_name", std::int64_t{0});
  return shape;
}

}  // namespace

Result<TaskText> TaskText::Load(const std::string& path) {
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  TaskText tasks;
  try {
    const nlohmann::json spec = nlohmann::json::parse(text);
    spec.at("lists").get_to(tasks.lists_);
    spec.at("filler").get_to(tasks.filler_);
    const nlohmann::json& fact = spec.at("fact");
    fact.at("template").get_to(tasks.fact_template_);
    for (const nlohmann::json& kind : fact.at("kinds")) {
      const auto slot = OnlySlot(kind.at("attribute").get<std::string>());
      if (!slot) return DataError(path + ": " + slot.error().message);
      tasks.kinds_.push_back({*slot, kind.at("value").get<std::string>()});
    }
    spec.at("question").get_to(tasks.question_);
    for (const auto& [name, shape] : spec.at("tasks").items()) {
      tasks.tasks_[name] = ReadShape(shape);
    }
  } catch (const nlohmann::json::exception& e) {
    return DataError(path + ": " + JsonErrorText(e.what()));
  }
  ESA_RETURN_IF_ERROR(tasks.CheckSlots(path));
  return tasks;
}

Status TaskText::CheckSlots(const std::string& path) const {
  std::string unknown;
  const auto check = [&](const std::string& slot) {
    const auto list = lists_.find(slot);
    if (slot != kDigits && (list == lists_.end() || list->second.empty())) unknown = slot;
    return std::string();
  };
  for (const std::string& sentence : filler_) Fill(sentence, check);
  for (const FactKind& kind : kinds_) {
    check(kind.attribute_list);
    Fill(kind.value_template, check);
  }
  check(kNames);
  if (!unknown.empty()) {
    return DataError(
        fmt::format("{}: lists: \"{}\" is used but not there or empty", path, unknown));
  }
  if (filler_.empty() || kinds_.empty() || tasks_.empty()) {
    return DataError(path + ": filler, fact.kinds and tasks must not be empty");
  }
  return {};
}

std::int64_t TaskText::num_pairs() const {
  std::size_t attributes = 0;
  for (const FactKind& kind : kinds_) attributes += lists_.at(kind.attribute_list).size();
  return static_cast<std::int64_t>(attributes * lists_.at(kNames).size());
}

std::string TaskText::Expand(const std::string& text, SplitMix64* rng) const {
  return Fill(text, [&](const std::string& slot) -> std::string {
    if (slot != kDigits) return Draw(lists_.at(slot), rng);
    return fmt::format("{:04}", rng->Below(10000));
  });
}

std::string TaskText::Filler(SplitMix64* rng) const { return Expand(Draw(filler_, rng), rng); }

const TaskText::FactKind& TaskText::KindOf(const std::string& attribute) const {
  const auto holds = [&](const FactKind& kind) {
    const Words& words = lists_.at(kind.attribute_list);
    return std::find(words.begin(), words.end(), attribute) != words.end();
  };
  const auto found = std::find_if(kinds_.begin(), kinds_.end(), holds);
  return found == kinds_.end() ? kinds_.front() : *found;
}

Fact TaskText::DrawFact(const std::string& attribute, const std::string& name,
                        SplitMix64* rng) const {
  Fact fact{.attribute = attribute, .name = name, .value = {}};
  const FactKind& kind = attribute.empty() ? kinds_[rng->Below(kinds_.size())] : KindOf(attribute);
  if (attribute.empty()) fact.attribute = Draw(lists_.at(kind.attribute_list), rng);
  if (name.empty()) fact.name = Draw(lists_.at(kNames), rng);
  fact.value = Expand(kind.value_template, rng);
  return fact;
}

std::string TaskText::Sentence(const Fact& fact) const { return FillFact(fact_template_, fact); }
std::string TaskText::Question(const Fact& fact) const { return FillFact(question_, fact); }

}  // namespace esa
