#include "eval/jsonl/line_reader.h"

#include <fmt/format.h>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"

namespace esa {

const nlohmann::json* LineReader::Find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void LineReader::Expected(const char* key, const nlohmann::json* found, const char* expected) {
  if (!error_.empty()) return;
  error_ = fmt::format("{}: field \"{}\": found {}, expected {}", where_, key,
                       found == nullptr ? "nothing" : found->type_name(), expected);
}

bool LineReader::ReadTexts(const nlohmann::json& value, std::vector<std::string>* out) {
  if (!value.is_array()) return false;
  for (const nlohmann::json& item : value) {
    if (!item.is_string()) return false;
    out->push_back(item.get<std::string>());
  }
  return true;
}

std::string LineReader::Text(const char* key) {
  const nlohmann::json* value = Find(key);
  if (value != nullptr && value->is_string()) return value->get<std::string>();
  Expected(key, value, "a text");
  return {};
}

std::vector<std::string> LineReader::Texts(const char* key) {
  const nlohmann::json* value = Find(key);
  std::vector<std::string> texts;
  if (value == nullptr || !ReadTexts(*value, &texts)) Expected(key, value, "a list of texts");
  return texts;
}

std::string LineReader::OptionalText(const char* key) {
  return Find(key) == nullptr ? std::string() : Text(key);
}

std::int64_t LineReader::OptionalWhole(const char* key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return 0;
  if (!value->is_number_integer()) {
    Expected(key, value, "a whole number");
    return 0;
  }
  return value->get<std::int64_t>();
}

std::optional<std::vector<std::string>> LineReader::OptionalTexts(const char* key) {
  if (Find(key) == nullptr) return std::nullopt;
  return Texts(key);
}

std::optional<double> LineReader::OptionalNumber(const char* key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) return value->get<double>();
  Expected(key, value, "a number");
  return std::nullopt;
}

Status LineReader::status() const {
  if (error_.empty()) return {};
  return DataError(error_);
}

Status ForEachLine(const std::string& path, std::string_view expected,
                   const std::function<bool(LineReader&)>& take) {
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  int number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    nlohmann::json object;
    try {
      object = nlohmann::json::parse(line);
    } catch (const nlohmann::json::exception& e) {
      return DataError(fmt::format("{}: expected one JSON object with {}: {}", where, expected,
                                   JsonErrorText(e.what())));
    }
    if (!object.is_object()) {
      return DataError(fmt::format("{}: found {}, expected one JSON object with {}", where,
                                   object.type_name(), expected));
    }
    LineReader reader(where, object);
    const bool more = take(reader);
    ESA_RETURN_IF_ERROR(reader.status());
    if (!more) break;
  }
  return {};
}

}  // namespace esa
