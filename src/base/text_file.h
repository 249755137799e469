// Whole files as text. Pure functions: any thread.
#pragma once

#include <string>

#include "esa/result.h"

namespace esa {

// kNotFound or kIoError, naming the file and the reason. A folder is kIoError.
Result<std::string> ReadWholeFile(const std::string& path);

// Replaces a file's content at once: a reader sees the old or the new, never a part.
// What is there and no file (a device, a pipe) is written to.
Status ReplaceFile(const std::string& path, const std::string& text);

}  // namespace esa
