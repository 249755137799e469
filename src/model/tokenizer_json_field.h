// Reading fields of the tokenizer's JSON files with one kind of error message. Private to the
// tokenizer's sources: nlohmann's types stay out of the headers that other modules include.
//
// Threading: pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "esa/result.h"

namespace esa {

// `object`[`name`], or null where it is no object or has no such member.
const nlohmann::json& JsonMember(const nlohmann::json& object, const std::string& name);

// A short name of a value for messages: `"Unigram"`, `an array`, `nothing`.
std::string DescribeJson(const nlohmann::json& value);

// kDataError "FILE: FIELD: found VALUE, expected EXPECTED".
Error FieldError(const std::string& file, const std::string& field, const nlohmann::json& found,
                 const std::string& expected);

// kDataError "FILE: malformed JSON at byte N, expected an object".
Error MalformedJson(const std::string& file, std::size_t byte);

// A whole document whose root is an object.
Result<nlohmann::json> ParseJsonObject(std::string_view text, const std::string& file);

}  // namespace esa
