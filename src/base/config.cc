#include "esa/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "base/config_file/config_tree.h"
#include "base/config_file/fields.h"
#include "base/status_macros.h"

namespace esa {
namespace {

struct Unit {
  std::string_view name;  // lower case
  double bytes;
};
constexpr Unit kUnits[] = {{"", 1},
                           {"b", 1},
                           {"kb", 1e3},
                           {"mb", 1e6},
                           {"gb", 1e9},
                           {"tb", 1e12},
                           {"kib", 1ull << 10},
                           {"mib", 1ull << 20},
                           {"gib", 1ull << 30},
                           {"tib", 1ull << 40}};

bool IsSpace(char c) { return c == ' ' || c == '\t'; }

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

// A set and non-empty variable, or null.
const char* Environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

}  // namespace

Result<std::uint64_t> ParseBytes(const std::string& text) {
  const Error error = InvalidArgument(fmt::format(
      "size: found \"{}\", expected a number and a unit, such as 512MiB, 1.5GB or 4096; units: "
      "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB",
      text));
  const std::string_view trimmed = Trimmed(text);
  const auto digits = std::min(trimmed.find_first_not_of("0123456789."), trimmed.size());
  const std::string number(trimmed.substr(0, digits));
  if (number.empty() || number.front() == '.' || number.back() == '.' ||
      std::count(number.begin(), number.end(), '.') > 1) {
    return error;
  }
  std::string name(Trimmed(trimmed.substr(digits)));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                  [&](const Unit& u) { return u.name == name; });
  if (unit == std::end(kUnits)) return error;
  const double bytes = std::strtod(number.c_str(), nullptr) * unit->bytes;
  if (!(bytes < 0x1p63) || (unit->bytes == 1 && bytes != std::floor(bytes))) return error;
  return static_cast<std::uint64_t>(bytes);
}

Status ReadConfigFile(const std::string& path, EngineConfig* config) {
  ESA_ASSIGN_OR_RETURN(const nlohmann::json tree, ReadConfigTree(path));
  EngineConfig read = *config;
  ObjectReader reader(path, tree);
  ReadUcmFields(&reader, &read);
  ReadNativeFields(&reader, &read);
  ESA_RETURN_IF_ERROR(reader.Finish());
  *config = std::move(read);
  return {};
}

Status ReadEnvironment(EngineConfig* config) {
  if (const char* text = Environment("ENABLE_SPARSE")) {
    std::string value(text);
    std::transform(value.begin(), value.end(), value.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (value == "false" || value == "0") {
      config->sparse = {.name = "dense", .options = {}};
    } else if (value != "true" && value != "1") {
      return InvalidArgument(fmt::format(
          "environment: ENABLE_SPARSE: found \"{}\", expected true, false, 1 or 0", text));
    }
  }
  if (const char* model = Environment("MODEL_PATH")) config->model_dir = model;
  if (const char* folders = Environment("DATA_DIR")) {
    config->store.storage_backends = SplitFolders(folders);
  }
  return {};
}

}  // namespace esa
