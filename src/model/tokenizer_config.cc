#include "model/tokenizer_config.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/status_macros.h"
#include "model/tokenizer_json_field.h"

namespace esa {
namespace {

using Json = nlohmann::json;

constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{1} << 30;

// A token is written as its text, as an object with `content`, or null.
Result<std::optional<std::string>> ReadToken(const Json& root, const std::string& name,
                                             const std::string& file) {
  const Json& token = JsonMember(root, name);
  if (token.is_null()) return std::optional<std::string>();
  const Json& content = token.is_object() ? JsonMember(token, "content") : token;
  if (content.is_string()) return std::optional<std::string>(content.get<std::string>());
  return FieldError(file, name, token, "a string, an object with a string \"content\", or null");
}

Result<std::optional<std::string>> ReadTemplate(const Json& root, const std::string& file) {
  const Json& field = JsonMember(root, "chat_template");
  if (field.is_null()) return std::optional<std::string>();
  if (field.is_string()) return std::optional<std::string>(field.get<std::string>());
  if (field.is_array()) {
    for (const Json& entry : field) {
      const Json& text = JsonMember(entry, "template");
      if (JsonMember(entry, "name") == "default" && text.is_string()) {
        return std::optional<std::string>(text.get<std::string>());
      }
    }
  }
  return FieldError(file, "chat_template", field,
                    "a string, or an array with {\"name\": \"default\", \"template\": ...}");
}

}  // namespace

Result<std::string> ReadTextFile(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return NotFound(file.string() + ": no such file");
  const auto bytes = std::filesystem::file_size(file, error);
  if (error) return IoError(file.string() + ": " + error.message());
  if (bytes > kMaxFileBytes) return DataError(file.string() + ": larger than 1 GiB");
  std::ifstream in(file, std::ios::binary);
  std::string text(static_cast<std::size_t>(bytes), '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(bytes))) {
    return IoError(file.string() + ": cannot be read");
  }
  return text;
}

Result<TokenizerConfig> ParseTokenizerConfig(std::string_view json, const std::string& file) {
  ESA_ASSIGN_OR_RETURN(const Json root, ParseJsonObject(json, file));
  TokenizerConfig config;
  ESA_ASSIGN_OR_RETURN(config.bos_token, ReadToken(root, "bos_token", file));
  ESA_ASSIGN_OR_RETURN(config.eos_token, ReadToken(root, "eos_token", file));
  ESA_ASSIGN_OR_RETURN(config.chat_template, ReadTemplate(root, file));
  return config;
}

Result<TokenizerConfig> LoadTokenizerConfig(const std::filesystem::path& folder) {
  const auto file = folder / "tokenizer_config.json";
  const auto text = ReadTextFile(file);
  if (text) return ParseTokenizerConfig(*text, file.string());
  if (text.error().code == ErrorCode::kNotFound) return TokenizerConfig{};
  return text.error();
}

}  // namespace esa
