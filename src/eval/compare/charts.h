// The pictures of a comparison, as inline SVG. Private to eval.
//
// Threading: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "esa/result.h"
#include "eval/compare.h"

namespace esa {

// How a series is drawn everywhere.
struct SeriesStyle {
  std::string css;  // class that sets its colour
  int marker = 0;
};

struct ChartPoint {
  double x = 0;  // bytes; 0 has a place of its own left of the logarithmic axis
  double y = 0;
  std::string tooltip;
};

struct ChartSeries {
  SeriesStyle style;
  std::vector<ChartPoint> points;  // joined in this order
};

struct Chart {
  std::string label;  // what it shows, in a sentence
  std::string x_label;
  std::string y_label;
  double y_most = 100;
  std::optional<double> dense;  // a horizontal line
  std::vector<ChartSeries> series;
};

std::string DrawChart(const Chart& chart);

// Score by where the fact stands and how long the prompt is.
struct NeedleMap {
  struct Cell {
    double sum = 0;  // of scores in [0, 1]
    int records = 0;
  };
  std::vector<std::int64_t> tokens;  // columns, rising
  std::vector<std::string> depths;   // rows, from the beginning of the text on
  std::vector<Cell> cells;           // [depths, tokens]
};

// Of the records of data set `dataset` that have both; none where there are no such.
std::optional<NeedleMap> MakeNeedleMap(const Comparison& comparison, std::size_t row,
                                       std::string_view dataset);
std::string DrawNeedleMap(const NeedleMap& map, const std::string& label);

// The colours of scores 0 to 100 as a CSS gradient.
std::string NeedleGradient();

// One layer: a column for each decode step, a row for each block, the first block at the bottom.
std::string DrawSelections(const SelectionLog& log, std::size_t layer, const std::string& label);

}  // namespace esa
