// What the tokenizer and the chat templates need to know of UTF-8 and Unicode.
//
// Threading: pure functions. Any byte string is accepted; what is not UTF-8 is reported or left as
// it is, never dropped.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace esa {

// One step through a byte string that need not be UTF-8.
struct Utf8Step {
  enum class Kind {
    kValid,      // `bytes` bytes that are the character `codepoint`
    kInvalid,    // `bytes` bytes that can begin no character (a maximal ill-formed part)
    kTruncated,  // the string ends inside a character that further bytes could complete
  };
  Kind kind = Kind::kInvalid;
  std::size_t bytes = 0;  // at least 1
  char32_t codepoint = 0;
};

// Reads the character at the start of `text`, which must not be empty. The ill-formed parts are
// those of Unicode 3.9 "substitution of maximal subparts", as in Python and Rust.
Utf8Step ReadUtf8(std::string_view text);

// Appends the UTF-8 form of `codepoint` (a Unicode scalar value).
void AppendUtf8(char32_t codepoint, std::string* out);

// Appends `text` with every ill-formed part replaced by U+FFFD. Returns the bytes consumed: all of
// them, or those before a truncated character at the end when `keep_truncated`.
std::size_t AppendValidUtf8(std::string_view text, bool keep_truncated, std::string* out);

// The property White_Space.
bool IsWhiteSpace(char32_t codepoint);

// Letters, marks, decimal digits, letter numbers, connectors and joiners: `\w` of Unicode TR18
// without the few symbols of Other_Alphabetic.
bool IsWordCharacter(char32_t codepoint);

// Appends the NFC form of `text`. Ill-formed bytes are copied and bound the text on both sides.
void AppendNfc(std::string_view text, std::string* out);

// `text` without the characters that Python's str.strip() takes from both ends.
std::string_view StripWhiteSpace(std::string_view text);

}  // namespace esa
