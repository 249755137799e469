// The JSON text of a tokenizer.json, with its two big tables (vocab and merges) read straight into
// vectors: a DOM of them would take ten times the file in memory and most of the time to load.
// Private to the tokenizer's sources.
//
// Threading: pure function.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "esa/result.h"
#include "model/byte_level_bpe.h"

namespace esa {

struct TokenizerDocument {
  nlohmann::json rest;  // everything but model.vocab and model.merges where these are tables
  BpeModel model;       // vocab and merges only
  bool has_vocab = false;
  bool has_merges = false;
};

// kDataError: malformed JSON, or an entry of the tables that is no token or no merge.
Result<TokenizerDocument> ReadTokenizerDocument(std::string_view text, const std::string& file);

}  // namespace esa
