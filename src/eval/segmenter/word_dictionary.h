// jieba's dict.txt: words with their frequencies, and all their beginnings. Private to eval.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "esa/result.h"

namespace esa {

class WordDictionary {
 public:
  // Lines "word frequency tag".
  static Result<WordDictionary> Load(const std::string& path);

  // The frequency of a word in UTF-8; 0 where it is only the beginning of one; -1 where neither.
  std::int64_t Frequency(std::string_view word) const;
  // Of the sum of all frequencies.
  double log_total() const { return log_total_; }

 private:
  std::unique_ptr<std::string> text_;  // on the heap: the keys point into it, also after a move
  std::unordered_map<std::string_view, std::int64_t> frequency_;
  double log_total_ = 0;
};

}  // namespace esa
