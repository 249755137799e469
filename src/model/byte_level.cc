#include "model/byte_level.h"

#include <array>
#include <cstddef>

#include "model/tokenizer_unicode.h"

namespace esa {
namespace {

constexpr char32_t kFirstSubstitute = 0x100;
constexpr std::size_t kAlphabetEnd = kFirstSubstitute + 68;  // 68 bytes do not print

struct Alphabet {
  std::array<char32_t, 256> character_of{};
  std::array<short, kAlphabetEnd> byte_of{};  // -1: not of the alphabet
};

constexpr bool StandsForItself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  alphabet.byte_of.fill(-1);
  char32_t substitute = kFirstSubstitute;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t character = StandsForItself(byte) ? byte : substitute++;
    alphabet.character_of[byte] = character;
    alphabet.byte_of[character] = static_cast<short>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

void AppendByteLevel(std::string_view bytes, std::string* out) {
  for (const char byte : bytes) {
    AppendUtf8(kAlphabet.character_of[static_cast<unsigned char>(byte)], out);
  }
}

bool AppendBytesOfByteLevel(std::string_view token, std::string* out) {
  const std::size_t before = out->size();
  while (!token.empty()) {
    const Utf8Step step = ReadUtf8(token);
    const bool known = step.kind == Utf8Step::Kind::kValid && step.codepoint < kAlphabetEnd &&
                       kAlphabet.byte_of[step.codepoint] >= 0;
    if (!known) {
      out->resize(before);
      return false;
    }
    out->push_back(static_cast<char>(kAlphabet.byte_of[step.codepoint]));
    token.remove_prefix(step.bytes);
  }
  return true;
}

}  // namespace esa
