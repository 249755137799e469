#include "store/posix/file_names.h"

#include <unistd.h>

#include <cstdio>
#include <random>
#include <string_view>

namespace esa {
namespace {

constexpr std::string_view kBlockEnding = ".block";
constexpr std::string_view kTemporaryEnding = ".tmp";
constexpr std::string_view kOwnerEnding = ".owner";
constexpr std::string_view kProbeEnding = ".probe";
constexpr std::string_view kPinsEnding = ".pins";

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

std::optional<BlockId> ParseId(std::string_view hex) {
  BlockId id;
  if (hex.size() != 2 * id.bytes.size()) return std::nullopt;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) {
    const int high = HexDigit(hex[2 * i]);
    const int low = HexDigit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    id.bytes[i] = static_cast<std::uint8_t>(16 * high + low);
  }
  return id;
}

}  // namespace

std::string MakeOwner() {
  std::random_device random;
  char text[48];
  std::snprintf(text, sizeof(text), "%ld-%08x%08x", static_cast<long>(getpid()), random(),
                random());
  return text;
}

std::string FanOutPath(const std::string& folder, const BlockId& id) {
  return folder + "/" + id.Hex().substr(0, 2);
}

std::string BlockPath(const std::string& folder, const BlockId& id) {
  return FanOutPath(folder, id) + "/" + id.Hex() + std::string(kBlockEnding);
}

std::string QuarantinePath(const std::string& folder, const BlockId& id) {
  return folder + "/" + kQuarantineName + "/" + id.Hex() + std::string(kBlockEnding);
}

std::string TemporaryPath(const std::string& folder, const BlockId& id, const std::string& owner,
                          std::uint64_t number) {
  return FanOutPath(folder, id) + "/" + id.Hex() + "." + owner + "." + std::to_string(number) +
         std::string(kTemporaryEnding);
}

std::string OwnerPath(const std::string& folder, const std::string& owner) {
  return folder + "/" + owner + std::string(kOwnerEnding);
}

std::string ProbePath(const std::string& folder, const std::string& owner) {
  return folder + "/" + owner + std::string(kProbeEnding);
}

std::string PinsPath(const std::string& folder, const std::string& owner) {
  return folder + "/" + owner + std::string(kPinsEnding);
}

std::string LedgerPath(const std::string& folder) { return folder + "/ledger"; }

bool IsFanOutName(const std::string& name) {
  return name.size() == 2 && HexDigit(name[0]) >= 0 && HexDigit(name[1]) >= 0;
}

std::optional<BlockId> ParseBlockName(const std::string& name) {
  if (!name.ends_with(kBlockEnding)) return std::nullopt;
  return ParseId(std::string_view(name).substr(0, name.size() - kBlockEnding.size()));
}

std::optional<std::string> OwnerOfTemporary(const std::string& name) {
  const std::size_t first = name.find('.');
  if (!name.ends_with(kTemporaryEnding) || first == std::string::npos) return std::nullopt;
  const std::size_t second = name.find('.', first + 1);
  if (!ParseId(std::string_view(name).substr(0, first)) || second == std::string::npos) {
    return std::nullopt;
  }
  return name.substr(first + 1, second - first - 1);
}

std::optional<std::string> OwnerOfOwnerName(const std::string& name) {
  if (!name.ends_with(kOwnerEnding)) return std::nullopt;
  return name.substr(0, name.size() - kOwnerEnding.size());
}

std::optional<std::string> OwnerOfProbeName(const std::string& name) {
  if (!name.ends_with(kProbeEnding)) return std::nullopt;
  return name.substr(0, name.size() - kProbeEnding.size());
}

std::optional<std::string> OwnerOfPinsName(const std::string& name) {
  if (!name.ends_with(kPinsEnding)) return std::nullopt;
  return name.substr(0, name.size() - kPinsEnding.size());
}

}  // namespace esa
