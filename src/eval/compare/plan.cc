#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "eval/compare.h"

namespace esa {
namespace {

constexpr const char* kDenseName = "dense";
constexpr const char* kOracleName = "Oracle";
constexpr const char* kRandomName = "random";
constexpr const char* kStreamingName = "streaming";
constexpr const char* kRatioKey = "sparse_ratio";
constexpr const char* kStrideKey = "retrieval_stride";

bool IsReference(const std::string& name) {
  return name == kDenseName || name == kOracleName || name == kRandomName || name == kStreamingName;
}

// A factory refuses keys that it does not know. The value is one that whoever knows the key takes.
bool Knows(const std::string& algorithm, const std::string& key, const OptionValue& value) {
  return CreateSparseAttention(algorithm, {{key, value}}).ok();
}

class Planner {
 public:
  explicit Planner(const ComparePlan& plan) : plan_(plan) {}

  Result<std::vector<CompareRow>> Run() {
    ESA_RETURN_IF_ERROR(CheckPlan());
    const std::vector<std::string> names = SparseAttentionNames();
    const std::set<std::string> known(names.begin(), names.end());
    ESA_RETURN_IF_ERROR(Add(kDenseName, RowKind::kDense));
    if (known.contains(kOracleName)) ESA_RETURN_IF_ERROR(Add(kOracleName, RowKind::kBaseline));
    for (const std::string& name : plan_.algorithms.empty() ? names : plan_.algorithms) {
      if (!IsReference(name)) ESA_RETURN_IF_ERROR(Add(name, RowKind::kCandidate));
    }
    for (const NamedAlgorithm& named : plan_.named) {
      ESA_RETURN_IF_ERROR(AddSeries(named, RowKind::kCandidate));
    }
    if (known.contains(kRandomName)) ESA_RETURN_IF_ERROR(Add(kRandomName, RowKind::kBaseline));
    if (known.contains(kStreamingName)) {
      ESA_RETURN_IF_ERROR(Add(kStreamingName, RowKind::kBaseline));
    }
    return std::move(rows_);
  }

 private:
  Status CheckPlan() const {
    for (const double ratio : plan_.ratios) {
      if (ratio > 0 && ratio < 1) continue;
      return InvalidArgument(fmt::format(
          "ratio {}: expected a number above 0 and below 1; the dense row is 1", ratio));
    }
    for (const auto& [name, options] : plan_.options) {
      ESA_ASSIGN_OR_RETURN(const auto trial, CreateSparseAttention(name, options));
    }
    return {};
  }

  Status Add(const std::string& name, RowKind kind) {
    const auto options = plan_.options.find(name);
    return AddSeries({.series = name,
                      .algorithm = name,
                      .options = options == plan_.options.end() ? Options() : options->second},
                     kind);
  }

  Status AddSeries(const NamedAlgorithm& named, RowKind kind) {
    if (!series_.insert(named.series).second) {
      return InvalidArgument(fmt::format(
          "two rows are called \"{}\": give one another label, as label=NAME", named.series));
    }
    // Wrong options are said before missing ones are filled in.
    ESA_ASSIGN_OR_RETURN(const auto trial, CreateSparseAttention(named.algorithm, named.options));
    CompareRow row{.series = named.series,
                   .algorithm = named.algorithm,
                   .options = named.options,
                   .ratio = {},
                   .kind = kind};
    if (Knows(row.algorithm, kStrideKey, std::int64_t{5})) {
      row.options.emplace(kStrideKey, plan_.stride);
    }
    if (row.options.contains(kRatioKey) || !Knows(row.algorithm, kRatioKey, 0.2)) {
      return AddRow(std::move(row));
    }
    for (const double ratio : plan_.ratios) {
      row.ratio = ratio;
      row.options[kRatioKey] = ratio;
      ESA_RETURN_IF_ERROR(AddRow(row));
    }
    return {};
  }

  Status AddRow(CompareRow row) {
    ESA_ASSIGN_OR_RETURN(const auto trial, CreateSparseAttention(row.algorithm, row.options));
    rows_.push_back(std::move(row));
    return {};
  }

  const ComparePlan& plan_;
  std::set<std::string> series_;
  std::vector<CompareRow> rows_;
};

std::string Trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

}  // namespace

std::string CompareRow::name() const {
  return ratio ? fmt::format("{} {}", series, *ratio) : series;
}

Result<NamedAlgorithm> ParseNamedAlgorithm(const std::string& text) {
  const std::size_t brace = text.find('{');
  const std::size_t equals = text.find('=');
  const bool labelled = equals < brace;
  const std::size_t begin = labelled ? equals + 1 : 0;
  NamedAlgorithm named;
  named.algorithm = Trimmed(text.substr(begin, brace == std::string::npos ? brace : brace - begin));
  named.series = Trimmed(labelled ? text.substr(0, equals) : text);
  if (named.algorithm.empty() || named.series.empty()) {
    return InvalidArgument(
        fmt::format("row \"{}\": expected 'label=NAME {{\"option\": value}}'", text));
  }
  if (brace != std::string::npos) {
    auto options = ParseOptions(text.substr(brace));
    if (!options) {
      return InvalidArgument(fmt::format("row \"{}\": {}", text, options.error().message));
    }
    named.options = std::move(*options);
  }
  return named;
}

Result<std::map<std::string, Options>> ParseOptionsByAlgorithm(const std::string& json) {
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(json);
  } catch (const nlohmann::json::exception& e) {
    return InvalidArgument("not JSON: " + JsonErrorText(e.what()));
  }
  if (!object.is_object()) {
    return InvalidArgument(
        fmt::format("found {}, expected an object such as {{\"ESA\": {{\"init_window_sz\": 2}}}}",
                    object.type_name()));
  }
  std::map<std::string, Options> by_algorithm;
  for (const auto& [name, options] : object.items()) {
    auto read = ParseOptions(options.dump());
    if (!read) return InvalidArgument(fmt::format("\"{}\": {}", name, read.error().message));
    by_algorithm.emplace(name, std::move(*read));
  }
  return by_algorithm;
}

Result<std::vector<CompareRow>> PlanRows(const ComparePlan& plan) { return Planner(plan).Run(); }

std::string OptionsText(const Options& options) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [key, value] : options) {
    std::visit([&, name = key](const auto& v) { object[name] = v; }, value);
  }
  return object.dump();
}

}  // namespace esa
