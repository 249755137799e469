#include "model/tokenizer_json_field.h"

namespace esa {
namespace {

using Json = nlohmann::json;

// A wrong file can hold anything; a message is one line.
constexpr std::size_t kMaxShownBytes = 120;

}  // namespace

const Json& JsonMember(const Json& object, const std::string& name) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto member = object.find(name);
  return member == object.end() ? kNull : *member;
}

std::string DescribeJson(const Json& value) {
  if (value.is_null()) return "nothing";
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() <= kMaxShownBytes) return text;
  std::size_t end = kMaxShownBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

Error FieldError(const std::string& file, const std::string& field, const Json& found,
                 const std::string& expected) {
  return DataError(file + ": " + field + ": found " + DescribeJson(found) + ", expected " +
                   expected);
}

Error MalformedJson(const std::string& file, std::size_t byte) {
  return DataError(file + ": malformed JSON at byte " + std::to_string(byte) +
                   ", expected an object");
}

Result<Json> ParseJsonObject(std::string_view text, const std::string& file) {
  try {
    Json root = Json::parse(text);
    if (!root.is_object()) return FieldError(file, "the document", root, "an object");
    return root;
  } catch (const Json::parse_error& error) {
    return MalformedJson(file, error.byte);
  } catch (const Json::exception&) {
    return MalformedJson(file, 0);
  }
}

}  // namespace esa
