#include "eval/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "base/status_macros.h"
#include "eval/chinese_segmenter.h"
#include "eval/metrics/code_similarity.h"
#include "eval/metrics/label_match.h"
#include "eval/metrics/rouge.h"
#include "eval/metrics/token_f1.h"
#include "eval/ruler/string_match.h"

namespace esa {
namespace {

using TextMetric = double (*)(std::string_view prediction, std::string_view answer);
using ChineseMetric = double (*)(std::string_view prediction, std::string_view answer,
                                 const ChineseSegmenter& segmenter);

std::string_view FirstLine(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text.substr(0, text.find('\n'));
}

}  // namespace

double MeanScore(std::span<const double> scores) {
  if (scores.empty()) return 0.0;
  double sum = 0;
  for (const double score : scores) sum += score;
  // Through text: the decimal rounding of the exact binary value, which is what Python's round
  // does.
  const double percent = 100 * sum / static_cast<double>(scores.size());
  return std::strtod(fmt::format("{:.2f}", percent).c_str(), nullptr);
}

struct Scorer::Sample {
  std::string_view prediction;
  std::span<const std::string> answers;
  const std::optional<std::vector<std::string>>& all_classes;
  const ChineseSegmenter* segmenter;  // null where the metric needs none

  template <TextMetric kMetric>
  static Result<double> Best(const Sample& sample) {
    double best = 0;
    for (const std::string& answer : sample.answers) {
      best = std::max(best, kMetric(sample.prediction, answer));
    }
    return best;
  }

  template <TextMetric kMetric>
  static Result<double> Mean(const Sample& sample) {
    if (sample.answers.empty()) return 0.0;
    double sum = 0;
    for (const std::string& answer : sample.answers) sum += kMetric(sample.prediction, answer);
    return sum / static_cast<double>(sample.answers.size());
  }

  template <ChineseMetric kMetric>
  static Result<double> BestChinese(const Sample& sample) {
    double best = 0;
    for (const std::string& answer : sample.answers) {
      best = std::max(best, kMetric(sample.prediction, answer, *sample.segmenter));
    }
    return best;
  }

  static Result<double> Retrieval(const Sample& sample, std::string_view label) {
    double best = 0;
    for (const std::string& answer : sample.answers) {
      ESA_ASSIGN_OR_RETURN(const double score, RetrievalMatch(sample.prediction, answer, label));
      best = std::max(best, score);
    }
    return best;
  }

  static Result<double> Classification(const Sample& sample) {
    if (!sample.all_classes) {
      return DataError("field \"all_classes\": found nothing, expected a list of texts");
    }
    double best = 0;
    for (const std::string& answer : sample.answers) {
      best = std::max(best, ClassificationMatch(sample.prediction, answer, *sample.all_classes));
    }
    return best;
  }
};

struct Scorer::MetricRow {
  std::string_view name;
  Metric metric;
  bool needs_segmenter = false;
};

const Scorer::MetricRow Scorer::kMetrics[] = {
    {"qa_f1", Sample::Best<QaF1>},
    {"qa_f1_zh", Sample::BestChinese<QaF1Chinese>, true},
    {"rouge", Sample::Best<Rouge>},
    {"rouge_zh", Sample::BestChinese<RougeChinese>, true},
    {"classification", Sample::Classification},
    {"count", Sample::Best<CountMatch>},
    {"retrieval", [](const Sample& sample) { return Sample::Retrieval(sample, "Paragraph "); }},
    {"retrieval_zh", [](const Sample& sample) { return Sample::Retrieval(sample, "段落"); }},
    {"code_similarity", Sample::Best<CodeSimilarity>},
    {"exact", Sample::Best<Exact>},
    {"string_match_all", Sample::Mean<ruler::StringMatch>},
    {"string_match_part", Sample::Best<ruler::StringMatch>},
};

Scorer::Scorer(Metric metric, bool first_line_only,
               std::shared_ptr<const ChineseSegmenter> segmenter)
    : metric_(metric), first_line_only_(first_line_only), segmenter_(std::move(segmenter)) {}
Scorer::~Scorer() = default;
Scorer::Scorer(Scorer&&) noexcept = default;

Result<Scorer> Scorer::Create(const Dataset& dataset,
                              std::shared_ptr<const ChineseSegmenter> segmenter) {
  const MetricRow* row =
      std::find_if(std::begin(kMetrics), std::end(kMetrics),
                   [&](const MetricRow& other) { return other.name == dataset.metric; });
  if (row == std::end(kMetrics)) {
    return Unsupported(fmt::format("dataset {}: its metric \"{}\" is not available", dataset.name,
                                   dataset.metric));
  }
  if (row->needs_segmenter && segmenter == nullptr) {
    ESA_ASSIGN_OR_RETURN(segmenter, ChineseSegmenter::Load(ChineseSegmenter::DefaultFolder()));
  }
  return Scorer(row->metric, dataset.first_line_only, std::move(segmenter));
}

Result<double> Scorer::Score(const Prediction& prediction) const {
  const std::string_view text = prediction.pred;
  return metric_({.prediction = first_line_only_ ? FirstLine(text) : text,
                  .answers = prediction.answers,
                  .all_classes = prediction.all_classes,
                  .segmenter = segmenter_.get()});
}

Status Scorer::Check(const Record& record) const {
  const Prediction nothing{
      .pred = "", .answers = record.answers, .all_classes = record.all_classes, .length = 0};
  const auto score = Score(nothing);
  if (!score) return score.error();
  return {};
}

}  // namespace esa
