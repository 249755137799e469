// The byte-level alphabet of GPT-2: every byte has a printable character, so that a vocabulary of
// text can hold any bytes. Bytes that print in Latin-1 stand for themselves, the others take the
// characters from U+0100 on in rising order (source: the tokenizers library's pre-tokenizer
// ByteLevel, whose files we read).
//
// Threading: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace esa {

// Appends the characters that stand for `bytes`, as UTF-8.
void AppendByteLevel(std::string_view bytes, std::string* out);

// Appends the bytes for which the characters of `token` stand. False, with `out` unchanged, where a
// character is not of the alphabet.
bool AppendBytesOfByteLevel(std::string_view token, std::string* out);

}  // namespace esa
