#include "eval/chinese_segmenter.h"

#include <cmath>
#include <cstdlib>

#include "base/status_macros.h"
#include "eval/segmenter/position_model.h"
#include "eval/segmenter/word_dictionary.h"
#include "eval/unicode_text.h"

namespace esa {
namespace {

bool IsHan(char32_t c) { return c >= 0x4E00 && c <= 0x9FD5; }

bool IsAsciiAlphanumeric(char32_t c) {
  return (c >= U'0' && c <= U'9') || (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z');
}

bool IsDigit(char32_t c) { return c >= U'0' && c <= U'9'; }

// What words are made of; everything else is a piece of its own.
bool IsWordPart(char32_t c) {
  return IsHan(c) || IsAsciiAlphanumeric(c) ||
         std::u32string_view(U"+#&._%-").find(c) != std::u32string_view::npos;
}

// Code points of a run and where each begins in its UTF-8 form.
struct Run {
  std::u32string_view text;
  std::string utf8;
  std::vector<std::size_t> offset;  // [text.size() + 1]

  explicit Run(std::u32string_view run) : text(run) {
    for (const char32_t c : run) {
      offset.push_back(utf8.size());
      AppendCodePoint(c, &utf8);
    }
    offset.push_back(utf8.size());
  }
  std::string_view Utf8(std::size_t begin, std::size_t end) const {
    return std::string_view(utf8).substr(offset[begin], offset[end] - offset[begin]);
  }
};

// One past the end of a number, word or percentage at `begin`: [a-zA-Z0-9]+(\.[0-9]+)?%?
std::size_t EndOfLatinWord(std::u32string_view text, std::size_t begin) {
  std::size_t end = begin;
  while (end < text.size() && IsAsciiAlphanumeric(text[end])) ++end;
  if (end + 1 < text.size() && text[end] == U'.' && IsDigit(text[end + 1])) {
    ++end;
    while (end < text.size() && IsDigit(text[end])) ++end;
  }
  if (end < text.size() && text[end] == U'%') ++end;
  return end;
}

}  // namespace

struct ChineseSegmenter::Tables {
  WordDictionary dictionary;
  PositionModel positions;

  std::vector<std::size_t> BestPath(const Run& run) const;
  void CutRun(std::u32string_view text, std::vector<std::u32string>* words) const;
  void CutSingles(std::u32string_view text, std::vector<std::u32string>* words) const;
  void CutUnknown(std::u32string_view text, std::vector<std::u32string>* words) const;
};

// For each character, one past the end of the word that begins there on the best path from there
// on; of equally probable words the longer one.
std::vector<std::size_t> ChineseSegmenter::Tables::BestPath(const Run& run) const {
  const std::size_t n = run.text.size();
  std::vector<double> score(n + 1, 0.0);
  std::vector<std::size_t> word_end(n);
  for (std::size_t begin = n; begin-- > 0;) {
    bool found = false;
    const auto consider = [&](std::size_t end, std::int64_t frequency) {
      const double log_frequency = std::log(static_cast<double>(frequency));
      const double candidate = log_frequency - dictionary.log_total() + score[end];
      if (found && candidate < score[begin]) return;
      found = true;
      score[begin] = candidate;
      word_end[begin] = end;
    };
    for (std::size_t end = begin + 1; end <= n; ++end) {
      const std::int64_t frequency = dictionary.Frequency(run.Utf8(begin, end));
      if (frequency < 0) break;
      if (frequency > 0) consider(end, frequency);
    }
    if (!found) consider(begin + 1, 1);
  }
  return word_end;
}

// Characters that the best path left single: words the dictionary does not have.
void ChineseSegmenter::Tables::CutSingles(std::u32string_view text,
                                          std::vector<std::u32string>* words) const {
  if (text.size() > 1 && dictionary.Frequency(EncodeUtf8(text)) <= 0) {
    CutUnknown(text, words);
    return;
  }
  for (const char32_t c : text) words->emplace_back(1, c);
}

void ChineseSegmenter::Tables::CutUnknown(std::u32string_view text,
                                          std::vector<std::u32string>* words) const {
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = begin;
    if (IsHan(text[begin])) {
      while (end < text.size() && IsHan(text[end])) ++end;
      positions.Cut(text.substr(begin, end - begin), words);
    } else if (IsAsciiAlphanumeric(text[begin])) {
      end = EndOfLatinWord(text, begin);
      words->emplace_back(text.substr(begin, end - begin));
    } else {
      while (end < text.size() && !IsHan(text[end]) && !IsAsciiAlphanumeric(text[end])) ++end;
      words->emplace_back(text.substr(begin, end - begin));
    }
    begin = end;
  }
}

void ChineseSegmenter::Tables::CutRun(std::u32string_view text,
                                      std::vector<std::u32string>* words) const {
  const Run run(text);
  const std::vector<std::size_t> word_end = BestPath(run);
  std::size_t singles = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = word_end[at];
    if (end - at > 1) {
      CutSingles(text.substr(singles, at - singles), words);
      words->emplace_back(text.substr(at, end - at));
      singles = end;
    }
    at = end;
  }
  CutSingles(text.substr(singles), words);
}

ChineseSegmenter::ChineseSegmenter(std::unique_ptr<Tables> tables) : tables_(std::move(tables)) {}
ChineseSegmenter::~ChineseSegmenter() = default;

Result<std::unique_ptr<ChineseSegmenter>> ChineseSegmenter::Load(const std::string& folder) {
  auto dictionary = WordDictionary::Load(folder + "/dict.txt");
  if (!dictionary && dictionary.error().code == ErrorCode::kNotFound) {
    return NotFound(dictionary.error().message +
                    "; the Chinese metrics need jieba's word list: install the package "
                    "python3-jieba, or set ESA_JIEBA_DIR to a folder with dict.txt and finalseg/");
  }
  if (!dictionary) return dictionary.error();
  ESA_ASSIGN_OR_RETURN(PositionModel positions, PositionModel::Load(folder + "/finalseg"));
  return std::unique_ptr<ChineseSegmenter>(new ChineseSegmenter(
      std::make_unique<Tables>(Tables{std::move(*dictionary), std::move(positions)})));
}

std::string ChineseSegmenter::DefaultFolder() {
  const char* folder = std::getenv("ESA_JIEBA_DIR");
  if (folder != nullptr && *folder != '\0') return folder;
  return "/usr/lib/python3/dist-packages/jieba";
}

std::vector<std::u32string> ChineseSegmenter::Cut(std::string_view text) const {
  const std::u32string all = DecodeUtf8(text);
  const std::u32string_view view = all;
  std::vector<std::u32string> words;
  for (std::size_t begin = 0; begin < view.size();) {
    std::size_t end = begin + 1;
    if (IsWordPart(view[begin])) {
      while (end < view.size() && IsWordPart(view[end])) ++end;
      tables_->CutRun(view.substr(begin, end - begin), &words);
    } else {
      if (view.substr(begin, 2) == U"\r\n") ++end;
      words.emplace_back(view.substr(begin, end - begin));
    }
    begin = end;
  }
  return words;
}

}  // namespace esa
