#include "base/config_file/config_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"

namespace esa {
namespace {

// The plain scalars of YAML 1.2's core schema; a quoted one is always text.
nlohmann::json ScalarValue(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  std::int64_t whole = 0;
  if (YAML::convert<std::int64_t>::decode(node, whole)) return whole;
  double real = 0;
  if (YAML::convert<double>::decode(node, real)) return real;
  return text;
}

nlohmann::json FromYaml(const YAML::Node& node) {
  if (node.IsScalar()) return ScalarValue(node);
  if (node.IsSequence()) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& item : node) list.push_back(FromYaml(item));
    return list;
  }
  if (!node.IsMap()) return nullptr;
  nlohmann::json object = nlohmann::json::object();
  for (const auto& entry : node) {
    const std::string key = entry.first.as<std::string>();
    if (object.contains(key)) {
      throw YAML::ParserException(entry.first.Mark(),
                                  fmt::format("key \"{}\" is given twice", key));
    }
    object[key] = FromYaml(entry.second);
  }
  return object;
}

Result<nlohmann::json> ParseYaml(const std::string& path, const std::string& text) {
  try {
    return FromYaml(YAML::Load(text));
  } catch (const YAML::Exception& e) {
    return DataError(fmt::format("{}:{}: not YAML: {}", path, e.mark.line + 1, e.msg));
  }
}

Result<nlohmann::json> ParseJson(const std::string& path, const std::string& text) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    return DataError(fmt::format("{}: not JSON: {}", path, JsonErrorText(e.what())));
  }
}

}  // namespace

Result<nlohmann::json> ReadConfigTree(const std::string& path) {
  const bool json = path.ends_with(".json");
  if (!json && !path.ends_with(".yaml") && !path.ends_with(".yml")) {
    return InvalidArgument(path + ": a configuration file ends in .json, .yaml or .yml");
  }
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  ESA_ASSIGN_OR_RETURN(nlohmann::json tree, json ? ParseJson(path, text) : ParseYaml(path, text));
  if (tree.is_null()) return nlohmann::json::object();
  if (!tree.is_object()) {
    return DataError(
        fmt::format("{}: found {} at the top, expected keys and values", path, tree.type_name()));
  }
  return tree;
}

}  // namespace esa
