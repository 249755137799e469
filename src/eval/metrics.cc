#include "eval/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "base/status_macros.h"
#include "eval/chinese_segmenter.h"
#include "eval/ruler/string_match.h"
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

std::string_view FirstLine(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text.substr(0, text.find('\n'));
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

double MeanScore(std::span<const double> scores) {
  if (scores.empty()) return 0.0;
  double sum = 0;
  for (const double score : scores) sum += score;
  // Through text: the decimal rounding of the exact binary value, which is what Python's round
  // does.
  const double percent = 100 * sum / static_cast<double>(scores.size());
  return std::strtod(fmt::format("{:.2f}", percent).c_str(), nullptr);
}

struct Scorer::MetricRow {
  std::string_view name;
  Metric metric;
  bool needs_segmenter;
  bool wants_all = false;
};

const Scorer::MetricRow Scorer::kMetrics[] = {
    {"string_match_all",
     [](std::string_view prediction, std::string_view answer, const ChineseSegmenter*) {
       return ruler::StringMatch(prediction, answer);
     },
     false, true},
    {"string_match_part",
     [](std::string_view prediction, std::string_view answer, const ChineseSegmenter*) {
       return ruler::StringMatch(prediction, answer);
     },
     false},
    {"qa_f1",
     [](std::string_view prediction, std::string_view answer, const ChineseSegmenter*) {
       return QaF1(prediction, answer);
     },
     false},
    {"qa_f1_zh",
     [](std::string_view prediction, std::string_view answer, const ChineseSegmenter* segmenter) {
       return QaF1Chinese(prediction, answer, *segmenter);
     },
     true},
    {"exact",
     [](std::string_view prediction, std::string_view answer, const ChineseSegmenter*) {
       return Exact(prediction, answer);
     },
     false},
};

Scorer::Scorer(const MetricRow& row, bool first_line_only,
               std::unique_ptr<ChineseSegmenter> segmenter)
    : metric_(row.metric),
      wants_all_(row.wants_all),
      first_line_only_(first_line_only),
      segmenter_(std::move(segmenter)) {}
Scorer::~Scorer() = default;
Scorer::Scorer(Scorer&&) noexcept = default;

Result<Scorer> Scorer::Create(const Dataset& dataset) {
  const auto row_of = [](std::string_view metric) {
    return std::find_if(std::begin(kMetrics), std::end(kMetrics),
                        [&](const MetricRow& row) { return row.name == metric; });
  };
  const MetricRow* row = row_of(dataset.metric);
  if (row == std::end(kMetrics)) {
    std::string scored;
    for (const Dataset& other : Datasets()) {
      if (row_of(other.metric) == std::end(kMetrics)) continue;
      scored += scored.empty() ? "" : ", ";
      scored += other.name;
    }
    return Unsupported(
        fmt::format("dataset {}: its metric {} is not available; data sets that can be scored: {}",
                    dataset.name, dataset.metric, scored));
  }
  std::unique_ptr<ChineseSegmenter> segmenter;
  if (row->needs_segmenter) {
    ESA_ASSIGN_OR_RETURN(segmenter, ChineseSegmenter::Load(ChineseSegmenter::DefaultFolder()));
  }
  return Scorer(*row, dataset.first_line_only, std::move(segmenter));
}

double Scorer::Score(std::string_view prediction, std::span<const std::string> answers) const {
  if (first_line_only_) prediction = FirstLine(prediction);
  double best = 0;
  double sum = 0;
  for (const std::string& answer : answers) {
    const double score = metric_(prediction, answer, segmenter_.get());
    best = std::max(best, score);
    sum += score;
  }
  return wants_all_ && !answers.empty() ? sum / static_cast<double>(answers.size()) : best;
}

}  // namespace esa
