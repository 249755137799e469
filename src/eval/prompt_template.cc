#include "eval/prompt_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"

namespace esa {
namespace {

Result<nlohmann::json> ReadEntry(const std::string& path, std::string_view dataset) {
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  try {
    const nlohmann::json table = nlohmann::json::parse(text);
    const auto entry = table.find(std::string(dataset));
    if (entry != table.end()) return *entry;
  } catch (const nlohmann::json::exception& e) {
    return DataError(path + ": " + JsonErrorText(e.what()));
  }
  return DataError(fmt::format("{}: no entry for the data set \"{}\"", path, dataset));
}

bool IsOfLongBench(const Dataset& dataset) {
  return std::ranges::any_of(LongBenchDatasets(),
                             [&](const Dataset& other) { return other.name == dataset.name; });
}

}  // namespace

Result<PromptStyle> ChoosePromptStyle(const Dataset& dataset, const std::string& longbench_folder) {
  PromptStyle style{std::string(dataset.prompt_template), dataset.max_tokens};
  if (longbench_folder.empty() || !IsOfLongBench(dataset)) return style;
  const std::string prompts = longbench_folder + "/dataset2prompt.json";
  ESA_ASSIGN_OR_RETURN(const nlohmann::json prompt, ReadEntry(prompts, dataset.name));
  if (!prompt.is_string()) {
    return DataError(fmt::format("{}: {}: found {}, expected a text with {{context}}", prompts,
                                 dataset.name, prompt.dump()));
  }
  const std::string lengths = longbench_folder + "/dataset2maxlen.json";
  ESA_ASSIGN_OR_RETURN(const nlohmann::json length, ReadEntry(lengths, dataset.name));
  if (!length.is_number_integer() || length.get<std::int64_t>() < 1 ||
      length.get<std::int64_t>() > 1'000'000) {
    return DataError(fmt::format("{}: {}: found {}, expected a number of tokens", lengths,
                                 dataset.name, length.dump()));
  }
  return PromptStyle{prompt.get<std::string>(), length.get<int>()};
}

std::string FillPrompt(std::string_view prompt_template, const Record& record) {
  constexpr std::string_view kContext = "{context}";
  constexpr std::string_view kInput = "{input}";
  std::string out;
  while (!prompt_template.empty()) {
    if (prompt_template.starts_with(kContext)) {
      out += record.context;
      prompt_template.remove_prefix(kContext.size());
    } else if (prompt_template.starts_with(kInput)) {
      out += record.input;
      prompt_template.remove_prefix(kInput.size());
    } else {
      out += prompt_template.front();
      prompt_template.remove_prefix(1);
    }
  }
  return out;
}

Result<std::string> KeepBothEnds(std::string prompt, std::int64_t max_tokens,
                                 const TextCodec& codec) {
  ESA_ASSIGN_OR_RETURN(const std::vector<std::int32_t> ids, codec.encode(prompt));
  if (static_cast<std::int64_t>(ids.size()) <= max_tokens) return prompt;
  const auto half = max_tokens / 2;
  return codec.decode({ids.begin(), ids.begin() + half}) +
         codec.decode({ids.end() - half, ids.end()});
}

}  // namespace esa
