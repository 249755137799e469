// jieba's word lists for tests: where the real ones are, and a small list of our own.
//
// Threading: single-threaded tests.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "eval/chinese_segmenter.h"

namespace esa {

inline bool HasJieba() {
  return std::filesystem::exists(ChineseSegmenter::DefaultFolder() + "/dict.txt");
}

// Writes a folder for ChineseSegmenter::Load: dict.txt with these lines, and tables by which every
// character that the list does not cover is a word.
inline void WriteWordLists(const std::filesystem::path& folder, std::string_view dictionary) {
  std::filesystem::create_directories(folder / "finalseg");
  std::ofstream(folder / "dict.txt") << dictionary;
  std::ofstream(folder / "finalseg/prob_start.py") << "P={'B': -3.14e+100, 'S': -0.1}\n";
  std::ofstream(folder / "finalseg/prob_trans.py")
      << "P={'B': {'E': -0.1}, 'E': {'S': -0.1}, 'M': {'E': -0.1}, 'S': {'S': -0.1}}\n";
  std::ofstream(folder / "finalseg/prob_emit.py") << "P={'B': {}, 'E': {}, 'M': {}, 'S': {}}\n";
}

}  // namespace esa
