#include "base/text_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "base/status_macros.h"

namespace esa {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

Error SystemError(const std::string& path, const char* what, int code) {
  const std::string message = fmt::format("{}: {}: {}", path, what, std::strerror(code));
  return code == ENOENT ? NotFound(message) : IoError(message);
}

Status WriteAll(const std::string& path, const std::string& text) {
  File file(std::fopen(path.c_str(), "wb"));
  if (!file) return SystemError(path, "cannot be written", errno);
  const bool written = std::fwrite(text.data(), 1, text.size(), file.get()) == text.size();
  const int write_error = errno;
  // The last bytes may fail only here.
  const bool closed = std::fclose(file.release()) == 0;
  if (!written) return SystemError(path, "cannot be written", write_error);
  if (!closed) return SystemError(path, "cannot be written", errno);
  return {};
}

}  // namespace

Result<std::string> ReadWholeFile(const std::string& path) {
  const File file(std::fopen(path.c_str(), "rb"));
  if (!file) return SystemError(path, "cannot be read", errno);
  std::string text;
  char piece[1 << 16];
  while (const std::size_t size = std::fread(piece, 1, sizeof(piece), file.get())) {
    text.append(piece, size);
  }
  if (std::ferror(file.get()) != 0) return SystemError(path, "cannot be read", errno);
  return text;
}

Status ReplaceFile(const std::string& path, const std::string& text) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored)) {
    return WriteAll(path, text);
  }
  const std::string beside = path + fmt::format(".{}.tmp", getpid());
  Status status = WriteAll(beside, text);
  if (status.ok() && std::rename(beside.c_str(), path.c_str()) != 0) {
    status = SystemError(path, "cannot be written", errno);
  }
  if (!status.ok()) std::remove(beside.c_str());
  return status;
}

}  // namespace esa
