// A configuration file as a tree of values, whatever it was written in. Private to base.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "esa/result.h"

namespace esa {

// Reads `path`, JSON or YAML by its ending. The root is an object. Errors name the file and, where
// the text is malformed, the line.
Result<nlohmann::json> ReadConfigTree(const std::string& path);

}  // namespace esa
