#include "store/key_file.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

#include "base/status_macros.h"

namespace esa {
namespace {

constexpr std::size_t kHexDigits = 2 * SecretKey::kBytes;
constexpr char kExpected[] = "expected 64 hexadecimal digits, as of: openssl rand -hex 32";
constexpr std::uint32_t kOfOthers = 077;

// More than any key, so that a longer file shows; wiped when it goes.
struct KeyText {
  std::array<char, kHexDigits + 8> bytes;
  std::size_t size = 0;

  KeyText() = default;
  KeyText(const KeyText&) = delete;
  KeyText& operator=(const KeyText&) = delete;
  ~KeyText() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
  std::string_view view() const { return {bytes.data(), size}; }
};

// Opened without waiting, so that a pipe is refused and not waited for.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path)
      : number_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  const int number_;
};

Error SystemError(const std::string& path, const char* operation, int code) {
  std::string message =
      "encryption_key_file " + path + ": " + operation + ": " + std::strerror(code);
  return code == ENOENT ? NotFound(std::move(message)) : IoError(std::move(message));
}

std::optional<unsigned> HexDigit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
  return std::nullopt;
}

std::string_view WithoutNewline(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

Result<SecretKey> KeyOfDigits(const std::string& source, std::string_view text) {
  const std::string_view digits = WithoutNewline(text);
  if (digits.size() != kHexDigits) {
    return InvalidArgument(source + ": is " + std::to_string(digits.size()) + " bytes long, " +
                           kExpected);
  }
  std::array<std::byte, SecretKey::kBytes> bytes;
  bool valid = true;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto high = HexDigit(digits[2 * i]), low = HexDigit(digits[2 * i + 1]);
    valid = valid && high && low;
    bytes[i] = static_cast<std::byte>(high.value_or(0) << 4 | low.value_or(0));
  }
  SecretKey key(bytes);
  OPENSSL_cleanse(bytes.data(), bytes.size());
  if (!valid) return InvalidArgument(source + ": has a character that is no digit, " + kExpected);
  return key;
}

// Random bytes are all printable once in 10^14 keys, a password or half a key in digits always.
bool IsText(std::string_view bytes) {
  return std::ranges::all_of(bytes, [](char c) { return c >= ' ' && c <= '~'; });
}

Result<SecretKey> KeyOfFile(const std::string& source, std::string_view content) {
  const bool newline = content.size() == SecretKey::kBytes + 1 && content.back() == '\n';
  const std::string_view raw = newline ? content.substr(0, SecretKey::kBytes) : content;
  if (raw.size() != SecretKey::kBytes) return KeyOfDigits(source, content);
  if (IsText(raw)) {
    return InvalidArgument(source + ": is 32 bytes of text, too easily guessed, " + kExpected);
  }
  return SecretKey(std::as_bytes(std::span<const char, SecretKey::kBytes>(raw)));
}

// Of the open file, so that what is looked at is what is read.
Status CheckMode(const std::string& path, int descriptor) {
  struct stat info {};
  if (fstat(descriptor, &info) != 0) return SystemError(path, "stat", errno);
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument("encryption_key_file " + path + ": expected a file");
  }
  if ((info.st_mode & kOfOthers) == 0) return {};
  return InvalidArgument("encryption_key_file " + path +
                         ": its mode lets others read or change the key; mend it with: chmod 600 " +
                         path);
}

Status ReadText(const std::string& path, KeyText* text) {
  const Descriptor file(path);
  if (file.number() < 0) return SystemError(path, "open", errno);
  ESA_RETURN_IF_ERROR(CheckMode(path, file.number()));
  while (text->size < text->bytes.size()) {
    const ssize_t moved =
        read(file.number(), text->bytes.data() + text->size, text->bytes.size() - text->size);
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return SystemError(path, "read", errno);
    if (moved == 0) break;
    text->size += static_cast<std::size_t>(moved);
  }
  return {};
}

}  // namespace

Result<std::optional<SecretKey>> ReadStoreKey(const std::string& path) {
  if (!path.empty()) {
    KeyText text;
    ESA_RETURN_IF_ERROR(ReadText(path, &text));
    ESA_ASSIGN_OR_RETURN(SecretKey key, KeyOfFile("encryption_key_file " + path, text.view()));
    return std::optional<SecretKey>(std::move(key));
  }
  // Set but empty is an error: a secret that failed to arrive must not turn encryption off.
  const char* digits = std::getenv(kStoreKeyVariable);
  if (digits == nullptr) return std::optional<SecretKey>();
  ESA_ASSIGN_OR_RETURN(SecretKey key, KeyOfDigits(kStoreKeyVariable, digits));
  return std::optional<SecretKey>(std::move(key));
}

}  // namespace esa
