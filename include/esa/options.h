// Named settings of an algorithm or a backend, with reading that names every mistake.
//
// A reader is used once: read every key you know, then Finish, which fails when a value was out of
// range or of the wrong type, or when a key was given that nobody read.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "esa/result.h"

namespace esa {

using OptionValue = std::variant<bool, std::int64_t, double, std::string>;
using Options = std::map<std::string, OptionValue>;

// Options from the text of a flat JSON object, {"retrieval_stride": 5}.
Result<Options> ParseOptions(const std::string& json);

class OptionReader {
 public:
  // `owner` is what messages call the thing configured: "ESA".
  OptionReader(std::string owner, const Options& options)
      : owner_(std::move(owner)), options_(options) {}

  std::int64_t Int(const std::string& key, std::int64_t fallback, std::int64_t least,
                   std::int64_t most);
  double Real(const std::string& key, double fallback, double least, double most);
  bool Bool(const std::string& key, bool fallback);
  std::string Text(const std::string& key, const std::string& fallback,
                   const std::vector<std::string>& allowed);

  Status Finish() const;

 private:
  const OptionValue* Find(const std::string& key);
  void Fail(std::string message);

  std::string owner_;
  const Options& options_;
  std::set<std::string> known_;
  std::string first_error_;
};

}  // namespace esa
