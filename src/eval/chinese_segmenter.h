// Splits Chinese text into words the way jieba 0.42 does in its accurate mode: the most probable
// path through the graph of dictionary words, and a hidden Markov model over the positions
// begin, middle, end, single for the runs of single characters that remain.
// Source: https://github.com/fxsj/jieba, whose dictionary and model tables are read at run time.
//
// Threading: immutable after Load; Cut may be called from any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"

namespace esa {

class ChineseSegmenter {
 public:
  // `folder` holds dict.txt and finalseg/prob_{start,trans,emit}.py. kNotFound where a file is
  // missing, with what provides it; kDataError where one cannot be understood, with its line.
  static Result<std::unique_ptr<ChineseSegmenter>> Load(const std::string& folder);

  // The folder of the environment's ESA_JIEBA_DIR, else that of Debian's package python3-jieba.
  static std::string DefaultFolder();

  ~ChineseSegmenter();
  ChineseSegmenter(const ChineseSegmenter&) = delete;
  ChineseSegmenter& operator=(const ChineseSegmenter&) = delete;

  // All of `text`, spaces included, in pieces.
  std::vector<std::u32string> Cut(std::string_view text) const;

 private:
  struct Tables;
  explicit ChineseSegmenter(std::unique_ptr<Tables> tables);
  std::unique_ptr<Tables> tables_;
};

}  // namespace esa
