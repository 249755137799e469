#include "esa/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/json_text.h"

namespace esa {
namespace {

std::string Describe(const OptionValue& value) {
  struct Visitor {
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(std::int64_t v) const { return fmt::format("{}", v); }
    std::string operator()(double v) const { return fmt::format("{}", v); }
    std::string operator()(const std::string& v) const { return fmt::format("\"{}\"", v); }
  };
  return std::visit(Visitor{}, value);
}

std::string WholeNumberRange(std::int64_t least, std::int64_t most) {
  if (most == std::numeric_limits<std::int64_t>::max()) {
    return fmt::format("a whole number of at least {}", least);
  }
  return fmt::format("a whole number from {} to {}", least, most);
}

}  // namespace

Result<Options> ParseOptions(const std::string& json) {
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(json);
  } catch (const nlohmann::json::exception& e) {
    return InvalidArgument("options are not JSON: " + JsonErrorText(e.what()));
  }
  if (!object.is_object()) {
    return InvalidArgument(
        fmt::format("options: found {}, expected a JSON object such as {{\"sparse_ratio\": 0.2}}",
                    object.type_name()));
  }
  Options options;
  for (const auto& [key, value] : object.items()) {
    if (value.is_boolean()) {
      options[key] = value.get<bool>();
    } else if (value.is_number_unsigned() &&
               value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
      options[key] = value.get<double>();
    } else if (value.is_number_integer()) {
      options[key] = value.get<std::int64_t>();
    } else if (value.is_number()) {
      options[key] = value.get<double>();
    } else if (value.is_string()) {
      options[key] = value.get<std::string>();
    } else {
      return InvalidArgument(
          fmt::format("options: {}: found {}, expected a number, true, false or a text", key,
                      value.type_name()));
    }
  }
  return options;
}

const OptionValue* OptionReader::Find(const std::string& key) {
  known_.insert(key);
  const auto found = options_.find(key);
  return found == options_.end() ? nullptr : &found->second;
}

void OptionReader::Fail(std::string message) {
  if (first_error_.empty()) first_error_ = owner_ + ": " + std::move(message);
}

std::int64_t OptionReader::Int(const std::string& key, std::int64_t fallback, std::int64_t least,
                               std::int64_t most) {
  const OptionValue* value = Find(key);
  if (value == nullptr) return fallback;
  const auto* number = std::get_if<std::int64_t>(value);
  if (number != nullptr && *number >= least && *number <= most) return *number;
  Fail(fmt::format("{}: found {}, expected {}", key, Describe(*value),
                   WholeNumberRange(least, most)));
  return fallback;
}

double OptionReader::Real(const std::string& key, double fallback, double least, double most) {
  const OptionValue* value = Find(key);
  if (value == nullptr) return fallback;
  double number = std::numeric_limits<double>::quiet_NaN();
  if (const auto* real = std::get_if<double>(value)) number = *real;
  if (const auto* whole = std::get_if<std::int64_t>(value)) number = static_cast<double>(*whole);
  if (number >= least && number <= most) return number;
  Fail(fmt::format("{}: found {}, expected a number from {} to {}", key, Describe(*value), least,
                   most));
  return fallback;
}

bool OptionReader::Bool(const std::string& key, bool fallback) {
  const OptionValue* value = Find(key);
  if (value == nullptr) return fallback;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  Fail(fmt::format("{}: found {}, expected true or false", key, Describe(*value)));
  return fallback;
}

std::string OptionReader::Text(const std::string& key, const std::string& fallback,
                               const std::vector<std::string>& allowed) {
  const OptionValue* value = Find(key);
  if (value == nullptr) return fallback;
  const auto* text = std::get_if<std::string>(value);
  const bool fits = text != nullptr && (allowed.empty() || std::find(allowed.begin(), allowed.end(),
                                                                     *text) != allowed.end());
  if (fits) return *text;
  Fail(
      fmt::format("{}: found {}, expected {}", key, Describe(*value),
                  allowed.empty() ? "a text" : fmt::format("one of {}", fmt::join(allowed, ", "))));
  return fallback;
}

Status OptionReader::Finish() const {
  if (!first_error_.empty()) return InvalidArgument(first_error_);
  for (const auto& [key, value] : options_) {
    if (known_.contains(key)) continue;
    return InvalidArgument(
        fmt::format("{}: unknown key \"{}\"; known keys: {}", owner_, key,
                    known_.empty() ? "none" : fmt::format("{}", fmt::join(known_, ", "))));
  }
  return {};
}

}  // namespace esa
