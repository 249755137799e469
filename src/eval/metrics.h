// How predictions are scored: LongBench's metrics, and exact match for generated tasks.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"
#include "eval/datasets.h"

namespace esa {

class ChineseSegmenter;

// Lower case, without punctuation, English articles and superfluous space.
std::u32string NormalizeEnglish(std::string_view text);

// Harmonic mean of precision and recall over the bag of tokens, in [0, 1].
double TokenF1(std::vector<std::u32string> prediction, std::vector<std::u32string> answer);

double QaF1(std::string_view prediction, std::string_view answer);
double QaF1Chinese(std::string_view prediction, std::string_view answer,
                   const ChineseSegmenter& segmenter);

// 1 where the normalised texts are equal, else 0.
double Exact(std::string_view prediction, std::string_view answer);

// Mean times 100, rounded to two decimals: the number that LongBench reports. 0 for none.
double MeanScore(std::span<const double> scores);

// Scores the predictions of one data set. Threading: immutable; any thread.
class Scorer {
 public:
  // Errors: a metric that is not here yet (named, with the data sets that can be scored), or
  // missing word lists of the Chinese metrics.
  static Result<Scorer> Create(const Dataset& dataset);

  ~Scorer();
  Scorer(Scorer&&) noexcept;

  // The best over all answers, or their mean where the metric wants all of them; in [0, 1]; 0 where
  // there are none.
  double Score(std::string_view prediction, std::span<const std::string> answers) const;

 private:
  using Metric = double (*)(std::string_view prediction, std::string_view answer,
                            const ChineseSegmenter* segmenter);
  struct MetricRow;
  static const MetricRow kMetrics[];

  Scorer(const MetricRow& row, bool first_line_only, std::unique_ptr<ChineseSegmenter> segmenter);

  Metric metric_;
  bool wants_all_;
  bool first_line_only_;
  std::unique_ptr<ChineseSegmenter> segmenter_;  // null where the metric needs none
};

}  // namespace esa
