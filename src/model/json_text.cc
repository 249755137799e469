#include "model/json_text.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/status_macros.h"

namespace esa {

Result<std::string> ReadTextFile(const std::filesystem::path& path, std::size_t max_bytes) {
  std::error_code error;
  const bool exists = std::filesystem::exists(path, error);
  if (!exists && !error) return NotFound(fmt::format("{}: no such file", path.string()));
  const auto size = error ? 0 : std::filesystem::file_size(path, error);
  if (error) return IoError(fmt::format("{}: cannot open: {}", path.string(), error.message()));
  if (size > max_bytes) {
    return DataError(
        fmt::format("{}: found {} bytes, expected at most {}", path.string(), size, max_bytes));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), static_cast<std::streamsize>(size));
  if (!file) return IoError(fmt::format("{}: cannot read: {}", path.string(), strerror(errno)));
  return text;
}

std::string Quoted(std::string_view text) {
  constexpr std::size_t kMaxBytes = 160;
  const bool cut = text.size() > kMaxBytes;
  std::string out = "\"";
  for (const char c : text.substr(0, kMaxBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + (cut ? "\"..." : "\"");
}

}  // namespace esa
