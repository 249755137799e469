// How predictions are scored: by the metric of their data set.
#pragma once

#include <memory>
#include <span>

#include "esa/result.h"
#include "eval/datasets.h"
#include "eval/records.h"

namespace esa {

class ChineseSegmenter;

// Mean times 100, rounded to two decimals: the number that LongBench reports. 0 for none.
double MeanScore(std::span<const double> scores);

// Scores the predictions of one data set. Threading: immutable; any thread.
class Scorer {
 public:
  // `segmenter` is for Chinese metrics; where it is null and one is due, jieba's word lists are
  // read. Errors: an unknown metric, missing word lists.
  static Result<Scorer> Create(const Dataset& dataset,
                               std::shared_ptr<const ChineseSegmenter> segmenter = nullptr);

  ~Scorer();
  Scorer(Scorer&&) noexcept;

  // In [0, 1]. Most metrics take the best over all answers; 0 where there are none. Error: the
  // metric needs something of the answers or classes that is not there.
  Result<double> Score(const Prediction& prediction) const;

  // Whether the record's predictions can be scored, whatever they will be.
  Status Check(const Record& record) const;

  // To share with another scorer; may be null.
  std::shared_ptr<const ChineseSegmenter> segmenter() const { return segmenter_; }

 private:
  struct Sample;
  using Metric = Result<double> (*)(const Sample& sample);
  struct MetricRow;
  static const MetricRow kMetrics[];

  Scorer(Metric metric, bool first_line_only, std::shared_ptr<const ChineseSegmenter> segmenter);

  Metric metric_;
  bool first_line_only_;
  std::shared_ptr<const ChineseSegmenter> segmenter_;  // owned with the scorers that share it
};

}  // namespace esa
