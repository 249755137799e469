#include "base/config_file/object_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "esa/config.h"

namespace esa {
namespace {

const nlohmann::json& EmptyObject() {
  static const nlohmann::json empty = nlohmann::json::object();
  return empty;
}

bool IsWhole(const nlohmann::json& value, std::int64_t least, std::int64_t most) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) return false;
  const auto number = value.get<std::int64_t>();
  return number >= least && number <= most;
}

}  // namespace

ObjectReader::ObjectReader(std::string where, const nlohmann::json& object)
    : where_(std::move(where)), object_(object.is_object() ? object : EmptyObject()) {
  if (!object.is_object()) {
    Fail(fmt::format("found {}, expected keys and values", object.dump()));
  }
}

void ObjectReader::Fail(const std::string& message) {
  if (error_.empty()) error_ = where_ + ": " + message;
}

void ObjectReader::Adopt(const Error& error) {
  if (error_.empty()) error_ = error.message;
}

std::string ObjectReader::Below(const std::string& key) const { return where_ + ": " + key; }

const nlohmann::json* ObjectReader::Find(const std::string& key) {
  known_.insert(key);
  const auto found = object_.find(key);
  return found == object_.end() ? nullptr : &*found;
}

void ObjectReader::Expected(const std::string& key, const nlohmann::json& found,
                            const std::string& expected) {
  Fail(fmt::format("{}: found {}, expected {}", key, found.dump(), expected));
}

bool ObjectReader::Has(const std::string& key) { return Find(key) != nullptr; }

void ObjectReader::Text(const std::string& key, std::string* out) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return;
  if (value->is_string()) {
    *out = value->get<std::string>();
  } else {
    Expected(key, *value, "a text");
  }
}

void ObjectReader::Bool(const std::string& key, bool* out) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return;
  if (value->is_boolean()) {
    *out = value->get<bool>();
  } else {
    Expected(key, *value, "true or false");
  }
}

void ObjectReader::Int(const std::string& key, std::int64_t least, std::int64_t most, int* out) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return;
  if (IsWhole(*value, least, most)) {
    *out = value->get<int>();
  } else {
    Expected(key, *value, fmt::format("a whole number from {} to {}", least, most));
  }
}

void ObjectReader::Bytes(const std::string& key, std::uint64_t* out) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return;
  if (IsWhole(*value, 0, INT64_MAX)) {
    *out = value->get<std::uint64_t>();
    return;
  }
  if (value->is_string()) {
    const auto bytes = ParseBytes(value->get<std::string>());
    if (bytes) {
      *out = *bytes;
    } else {
      Fail(key + ": " + bytes.error().message);
    }
    return;
  }
  Expected(key, *value, "a size such as \"512MiB\" or a number of bytes");
}

void ObjectReader::Share(const std::string& key, double* out) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return;
  const double number = value->is_number() ? value->get<double>() : -1.0;
  if (number >= 0 && number <= 1) {
    *out = number;
  } else {
    Expected(key, *value, "a number from 0 to 1");
  }
}

void ObjectReader::Gibibytes(const std::string& key, std::uint64_t* out) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return;
  const double number = value->is_number() ? value->get<double>() : -1.0;
  if (number >= 0 && number <= 1e9) {
    *out = static_cast<std::uint64_t>(number * static_cast<double>(1ull << 30));
  } else {
    Expected(key, *value, "a number of GiB, 0 or more");
  }
}

void ObjectReader::Folders(const std::string& key, std::vector<std::string>* out) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return;
  std::vector<std::string> folders;
  bool fits = value->is_string() || value->is_array();
  if (value->is_string()) folders = SplitFolders(value->get<std::string>());
  if (value->is_array()) {
    for (const nlohmann::json& item : *value) {
      fits = fits && item.is_string() && !item.get_ref<const std::string&>().empty();
      if (fits) folders.push_back(item.get<std::string>());
    }
  }
  if (fits && !folders.empty()) {
    *out = std::move(folders);
  } else {
    Expected(key, *value, "a folder, folders with ':' between them, or a list of folders");
  }
}

void ObjectReader::Texts(const std::string& key, std::vector<std::string>* out) {
  const nlohmann::json* list = List(key);
  if (list == nullptr) return;
  out->clear();
  for (const nlohmann::json& item : *list) {
    if (!item.is_string()) return Expected(key, *list, "a list of texts");
    out->push_back(item.get<std::string>());
  }
}

void ObjectReader::Values(const std::string& key, Options* out) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return;
  if (value->is_null()) {
    out->clear();
    return;
  }
  auto options = ParseOptions(value->dump());
  if (options) {
    *out = std::move(*options);
  } else {
    Fail(key + ": " + options.error().message);
  }
}

const nlohmann::json* ObjectReader::Object(const std::string& key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || value->is_object()) return value;
  Expected(key, *value, "keys and values");
  return nullptr;
}

const nlohmann::json* ObjectReader::List(const std::string& key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || value->is_array()) return value;
  Expected(key, *value, "a list");
  return nullptr;
}

Status ObjectReader::Finish() const {
  if (!error_.empty()) return InvalidArgument(error_);
  for (const auto& [key, value] : object_.items()) {
    if (known_.contains(key)) continue;
    return InvalidArgument(fmt::format("{}: unknown key \"{}\"; known keys: {}", where_, key,
                                       fmt::join(known_, ", ")));
  }
  return {};
}

std::vector<std::string> SplitFolders(const std::string& text) {
  std::vector<std::string> folders;
  std::string::size_type begin = 0;
  while (begin <= text.size()) {
    const auto end = std::min(text.find_first_of(":,", begin), text.size());
    if (end > begin) folders.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return folders;
}

}  // namespace esa
