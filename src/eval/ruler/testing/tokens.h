// A tokenizer's stand-in for tests: runs of letters are a token, any other character that is no
// space is one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "eval/datasets.h"
#include "eval/prompt_template.h"
#include "eval/records.h"

namespace esa::ruler {

inline std::int64_t CountPieces(std::string_view text) {
  std::int64_t pieces = 0;
  bool in_word = false;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c != ' ' && c != '\n' && !(letter && in_word)) ++pieces;
    in_word = letter;
  }
  return pieces;
}

inline std::string PromptOf(const Record& record) {
  return FillPrompt(FindDataset(record.dataset)->prompt_template, record);
}

inline std::int64_t Occurrences(std::string_view text, std::string_view part) {
  std::int64_t found = 0;
  for (auto at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

}  // namespace esa::ruler
