// What a tokenizer.json says, read and checked: the part of the tokenizers library's format that
// byte-level BPE models use. Everything else is an error that names the field.
//
// Threading: plain data, pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"
#include "model/byte_level_bpe.h"
#include "model/pre_tokenizer.h"
#include "model/tokenizer_added_tokens.h"

namespace esa {

struct TokenizerSpec {
  BpeModel model;
  std::vector<AddedToken> added_tokens;
  bool nfc = false;  // normaliser: NFC, or none
  std::vector<PreTokenizerStep> pre_tokenizer;
  std::vector<std::int32_t> prefix_ids;  // what the post-processor puts before a text
  std::vector<std::int32_t> suffix_ids;  // and after it
};

// Errors (kDataError) are one line with `file`, the field, what was found and what was expected.
Result<TokenizerSpec> ParseTokenizerJson(std::string_view json, const std::string& file);

}  // namespace esa
