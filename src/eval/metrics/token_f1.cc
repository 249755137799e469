#include "eval/metrics/token_f1.h"

#include <algorithm>
#include <iterator>

#include "eval/chinese_segmenter.h"
#include "eval/unicode_text.h"

namespace esa {
namespace {

// What LongBench takes for punctuation in Chinese text beside ASCII's. The guillemet-like opening
// mark U+300A is not among them there, its closing counterpart is.
constexpr std::u32string_view kChinesePunctuation =
    U"！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔"
    U"〕〖〗〘〙〚〛〜〝〞〟〰〾〿"
    U"–—‘’‛“”„‟…‧﹏.";

bool IsPunctuation(char32_t c) {
  return IsAsciiPunctuation(c) || kChinesePunctuation.find(c) != std::u32string_view::npos;
}

bool IsArticle(std::u32string_view word) { return word == U"a" || word == U"an" || word == U"the"; }

// A space in place of every article that stands alone.
std::u32string WithoutArticles(std::u32string_view text) {
  std::u32string out;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = begin;
    while (end < text.size() && IsPythonWord(text[end])) ++end;
    if (end == begin) {
      out.push_back(text[begin++]);
      continue;
    }
    const std::u32string_view word = text.substr(begin, end - begin);
    out += IsArticle(word) ? std::u32string_view(U" ") : word;
    begin = end;
  }
  return out;
}

std::vector<std::u32string> ChineseTokens(std::string_view text,
                                          const ChineseSegmenter& segmenter) {
  std::vector<std::u32string> tokens;
  for (const std::u32string& word : segmenter.Cut(text)) {
    std::u32string token;
    for (const char32_t c : ToLower(word)) {
      if (!IsPunctuation(c) && !IsSpace(c)) token.push_back(c);
    }
    if (!token.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace

std::u32string NormalizeEnglish(std::string_view text) {
  std::u32string kept;
  for (const char32_t c : ToLower(DecodeUtf8(text))) {
    if (!IsAsciiPunctuation(c)) kept.push_back(c);
  }
  std::u32string joined;
  for (const std::u32string& word : SplitWords(WithoutArticles(kept))) {
    if (!joined.empty()) joined += U' ';
    joined += word;
  }
  return joined;
}

double TokenF1(std::vector<std::u32string> prediction, std::vector<std::u32string> answer) {
  std::sort(prediction.begin(), prediction.end());
  std::sort(answer.begin(), answer.end());
  std::vector<std::u32string> common;
  std::set_intersection(prediction.begin(), prediction.end(), answer.begin(), answer.end(),
                        std::back_inserter(common));
  if (common.empty()) return 0.0;
  const double same = static_cast<double>(common.size());
  const double precision = same / static_cast<double>(prediction.size());
  const double recall = same / static_cast<double>(answer.size());
  return 2 * precision * recall / (precision + recall);
}

double QaF1(std::string_view prediction, std::string_view answer) {
  return TokenF1(SplitWords(NormalizeEnglish(prediction)), SplitWords(NormalizeEnglish(answer)));
}

double QaF1Chinese(std::string_view prediction, std::string_view answer,
                   const ChineseSegmenter& segmenter) {
  return TokenF1(ChineseTokens(prediction, segmenter), ChineseTokens(answer, segmenter));
}

double Exact(std::string_view prediction, std::string_view answer) {
  return NormalizeEnglish(prediction) == NormalizeEnglish(answer) ? 1.0 : 0.0;
}

}  // namespace esa
