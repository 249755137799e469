// JSON files of a model folder: reading them, and words for what is wrong in them.
//
// Threading: pure functions.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "esa/result.h"

namespace esa {

// The content of a file of at most `max_bytes`. Errors name the file.
Result<std::string> ReadTextFile(const std::filesystem::path& path, std::size_t max_bytes);

// `text` in double quotes, fit for one line of a message: control characters and quotes escaped,
// long texts cut, so that a hostile file cannot fill the log.
std::string Quoted(std::string_view text);

}  // namespace esa
