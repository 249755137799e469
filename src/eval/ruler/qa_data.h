// Questions on documents, in the JSON of SQuAD and of HotpotQA. Private to eval.
//
// Threading: a QaData is immutable once read.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "esa/result.h"

namespace esa::ruler {

struct QaQuestion {
  std::string text;
  std::vector<std::string> answers;
  std::vector<std::size_t> documents;  // what it is asked on
  std::size_t article = 0;             // whose other documents resemble these
};

struct QaData {
  enum class Format { kSquad, kHotpotQa };
  Format format = Format::kSquad;
  std::string path;
  std::vector<std::string> documents;  // all different
  std::vector<QaQuestion> questions;   // in the file's order
  // Documents of each article; none where the file has no articles.
  std::vector<std::vector<std::size_t>> articles;
};

// SQuAD 1 or 2: an object {"data": [{"paragraphs": [{"context", "qas": [...]}]}]}; questions that
// are marked impossible are left out. HotpotQA: a list [{"question", "answer", "context": [[title,
// [sentence, ...]], ...]}]. Anything else is an error that names the file and what was expected.
Result<QaData> ReadQaData(const std::string& path);

}  // namespace esa::ruler
