// The fields of one line of a jsonl file, with errors that say where. Private to eval.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"

namespace esa {

class LineReader {
 public:
  // `where` is file:line. Keeps a reference to `object`.
  LineReader(std::string where, const nlohmann::json& object) : where_(where), object_(object) {}

  std::string Text(const char* key);                // must be there
  std::vector<std::string> Texts(const char* key);  // must be there
  std::string OptionalText(const char* key);        // "" where absent or null
  std::int64_t OptionalWhole(const char* key);      // 0 where absent or null
  std::optional<std::vector<std::string>> OptionalTexts(const char* key);
  std::optional<double> OptionalNumber(const char* key);
  bool Has(const char* key) const { return Find(key) != nullptr; }

  Status status() const;

 private:
  const nlohmann::json* Find(const char* key) const;
  void Expected(const char* key, const nlohmann::json* found, const char* expected);
  bool ReadTexts(const nlohmann::json& value, std::vector<std::string>* out);

  std::string where_;
  const nlohmann::json& object_;
  std::string error_;
};

// Calls `take` with a reader for every line of `path` that is not blank, until it returns false.
// `expected` names the fields in the error for a line that is no object.
Status ForEachLine(const std::string& path, std::string_view expected,
                   const std::function<bool(LineReader&)>& take);

}  // namespace esa
