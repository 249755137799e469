// tokenizer_config.json: the names of the special tokens and the chat template.
//
// Threading: plain data, pure functions.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "esa/result.h"

namespace esa {

struct TokenizerConfig {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> chat_template;  // of several, the one named "default"
};

// A whole file; kNotFound or kIoError name it. Files above 1 GiB are refused.
Result<std::string> ReadTextFile(const std::filesystem::path& file);

// Reads `folder`/tokenizer_config.json. A folder without one gives an empty configuration; one that
// is malformed, kDataError with file, field and what was expected.
Result<TokenizerConfig> LoadTokenizerConfig(const std::filesystem::path& folder);

// The same of a text; `file` is its name in messages.
Result<TokenizerConfig> ParseTokenizerConfig(std::string_view json, const std::string& file);

}  // namespace esa
