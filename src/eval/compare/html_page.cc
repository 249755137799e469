#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "eval/compare/charts.h"
#include "eval/compare/page_style.h"
#include "eval/compare/svg.h"
#include "eval/compare/table_columns.h"
#include "eval/cost.h"

namespace esa {
namespace {

constexpr double kShownRatio = 0.1;         // of selections: the nearest one
constexpr std::size_t kMostOpenLayers = 8;  // of more, only the first algorithm is unfolded

using Figure = std::function<double(const CompareCell&)>;

struct Series {
  std::string name;
  RowKind kind = RowKind::kCandidate;
  SeriesStyle style;
  std::vector<std::size_t> rows;
};

std::vector<Series> SeriesOf(const Comparison& comparison) {
  std::vector<Series> all;
  int candidates = 0;
  for (std::size_t r = 0; r < comparison.rows.size(); ++r) {
    const CompareRow& row = comparison.rows[r];
    if (all.empty() || all.back().name != row.series) {
      Series series{.name = row.series, .kind = row.kind, .style = {}, .rows = {}};
      if (row.kind == RowKind::kCandidate) {
        series.style = {fmt::format("s{}", candidates % kSeriesColours),
                        candidates % Svg::kMarkers};
        ++candidates;
      } else if (row.algorithm == "streaming") {
        series.style = {"streaming", 1};
      } else {
        series.style = {row.algorithm == "random" ? "random" : "oracle", 0};
      }
      all.push_back(std::move(series));
    }
    all.back().rows.push_back(r);
  }
  return all;
}

// The row of a series whose ratio is nearest to `ratio`, by factor.
std::size_t NearestRow(const Comparison& comparison, const Series& series, double ratio) {
  const auto distance = [&](std::size_t row) {
    return std::abs(std::log(comparison.rows[row].ratio.value_or(ratio) / ratio));
  };
  return *std::min_element(series.rows.begin(), series.rows.end(),
                           [&](std::size_t a, std::size_t b) { return distance(a) < distance(b); });
}

// Of an axis of five steps, each a round number.
double EndOfAxis(double most) {
  for (const double step : {0.2, 0.5, 1.0, 2.0, 5.0, 10.0}) {
    if (5 * step >= most) return 5 * step;
  }
  return 100;
}

class Page {
 public:
  explicit Page(const Comparison& comparison)
      : comparison_(comparison), series_(SeriesOf(comparison)) {}

  std::string Make() {
    Head();
    Charts("Score against bytes fetched",
           "Bytes of KV that selections newly brought in, per generated token: what a store would "
           "have to read were there no memory beside the selection. Up and to the left is better. "
           "Nothing is fetched where a selection never changes.",
           "fetched bytes/token", "fetched_bytes_per_token", "score", 100,
           [](const CompareCell& cell) { return cell.score; });
    Charts("Score against bytes attended to",
           "Bytes of KV that attention read, per token after the first: the size of the selection "
           "with the tail, over all layers and heads.",
           "attended bytes/token", "attended_bytes_per_token", "score", 100,
           [](const CompareCell& cell) { return cell.score; });
    MissedMass();
    NeedleMaps();
    Selections();
    Tables();
    html_ += "</body>\n</html>\n";
    return std::move(html_);
  }

 private:
  void Head() {
    html_ =
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
        "<title>esa eval compare</title>\n<style>";
    html_ += kPageStyle;
    html_ += "</style>\n</head>\n<body>\n<h1>Sparse attention compared</h1>\n";
    html_ += "<div class=\"settings\">\n";
    for (const auto& [name, value] : comparison_.settings) Setting(name, value);
    for (const CompareFile& file : comparison_.files) {
      Setting("data", fmt::format("{}, {} records", file.name, file.records.size()));
    }
    html_ += "</div>\n";
  }

  void Setting(const std::string& name, const std::string& value) {
    html_ += fmt::format("<span>{} <b>{}</b></span>\n", Escaped(name), Escaped(value));
  }

  void Heading(const std::string& title, const std::string& text) {
    html_ += fmt::format("<h2>{}</h2>\n<p>{}</p>\n", Escaped(title), Escaped(text));
  }

  void Legend() {
    html_ += "<div class=\"legend\">\n";
    for (const Series& series : series_) {
      Svg svg(30, 14, series.name);
      if (series.kind == RowKind::kDense) {
        svg.Line(1, 7, 29, 7, "dense");
      } else {
        if (series.rows.size() > 1) svg.Polyline({{1, 7}, {29, 7}}, "line " + series.style.css);
        svg.Marker(series.style.marker, 15, 7, "mark " + series.style.css);
      }
      html_ += "<span>" + svg.Finish() + Escaped(series.name) + "</span>\n";
    }
    html_ += "</div>\n";
  }

  std::string Tooltip(std::size_t row, double score, double fetched, double attended) const {
    return fmt::format("{}\nscore {:.2f}\nfetched {}/token\nattended {}/token",
                       comparison_.rows[row].name(), score, ShortBytes(fetched),
                       ShortBytes(attended));
  }

  // Means of a row over files.
  double Mean(std::size_t row, const std::vector<std::size_t>& files, const Figure& figure) const {
    double sum = 0;
    for (const std::size_t f : files) sum += figure(comparison_.cell(row, f));
    return sum / static_cast<double>(files.size());
  }

  std::string OneChart(const std::string& title, const std::vector<std::size_t>& files,
                       const std::string& x_label, const Figure& x, const std::string& y_label,
                       double y_most, const Figure& y) const {
    Chart chart{.label = fmt::format("{} against {}: {}", y_label, x_label, title),
                .x_label = x_label,
                .y_label = y_label,
                .y_most = y_most,
                .dense = {},
                .series = {}};
    const auto cost = [](const char* name) {
      return [name](const CompareCell& cell) { return cell.Cost(name).value_or(0); };
    };
    for (const Series& series : series_) {
      if (series.kind == RowKind::kDense) {
        chart.dense = Mean(series.rows.front(), files, y);
        continue;
      }
      ChartSeries& drawn = chart.series.emplace_back();
      drawn.style = series.style;
      for (const std::size_t row : series.rows) {
        drawn.points.push_back(
            {.x = Mean(row, files, x),
             .y = Mean(row, files, y),
             .tooltip =
                 Tooltip(row, Mean(row, files, [](const CompareCell& cell) { return cell.score; }),
                         Mean(row, files, cost("fetched_bytes_per_token")),
                         Mean(row, files, cost("attended_bytes_per_token")))});
      }
    }
    return fmt::format("<figure class=\"chart\"><figcaption>{}</figcaption>\n{}</figure>\n",
                       Escaped(title), DrawChart(chart));
  }

  void Charts(const std::string& title, const std::string& text, const std::string& x_label,
              const char* x_cost, const std::string& y_label, double y_most, const Figure& y) {
    Heading(title, text);
    Legend();
    const Figure x = [x_cost](const CompareCell& cell) { return cell.Cost(x_cost).value_or(0); };
    std::vector<std::size_t> all;
    std::string charts;
    for (std::size_t f = 0; f < comparison_.files.size(); ++f) {
      all.push_back(f);
      charts += OneChart(comparison_.files[f].name, {f}, x_label, x, y_label, y_most, y);
    }
    if (all.size() > 1) {
      charts = OneChart("Average of all files", all, x_label, x, y_label, y_most, y) + charts;
    }
    html_ += "<div class=\"grid\">\n" + charts + "</div>\n";
  }

  void MissedMass() {
    const Figure missed = [](const CompareCell& cell) {
      return 100 * cell.Cost("missed_mass").value_or(0);
    };
    double most = 0;
    bool audited = false;
    for (std::size_t r = 1; r < comparison_.rows.size(); ++r) {
      for (std::size_t f = 0; f < comparison_.files.size(); ++f) {
        audited |= comparison_.cell(r, f).audited() > 0;
        most = std::max(most, missed(comparison_.cell(r, f)));
      }
    }
    if (!audited) return;
    Charts("Missed mass against bytes attended to",
           "The share of softmax weight on blocks outside the selection, mean over the audited "
           "steps, layers and heads. Down and to the left is better.",
           "attended bytes/token", "attended_bytes_per_token", "missed mass, %", EndOfAxis(most),
           missed);
  }

  // The smallest ratio of each series.
  void NeedleMaps() {
    std::set<std::string_view> datasets;
    for (const CompareFile& file : comparison_.files) datasets.insert(file.dataset.name);
    for (const std::string_view dataset : datasets) {
      std::string maps;
      for (const Series& series : series_) {
        const std::size_t row = series.rows.front();
        const auto map = MakeNeedleMap(comparison_, row, dataset);
        if (!map) break;
        const std::string name = comparison_.rows[row].name();
        maps += fmt::format("<figure><figcaption>{}</figcaption>\n{}</figure>\n", Escaped(name),
                            DrawNeedleMap(*map, name + ": score by depth and length"));
      }
      if (maps.empty()) continue;
      Heading(fmt::format("{}: score by depth and length", dataset),
              "At the smallest ratio of each algorithm. The depth is where the fact stands in the "
              "text: 0 % is its beginning.");
      html_ += fmt::format("<div class=\"scale\">0 <i style=\"background:{}\"></i> 100</div>\n",
                           NeedleGradient());
      html_ += "<div class=\"grid\">\n" + maps + "</div>\n";
    }
  }

  void Selections() {
    std::string body;
    for (const Series& series : series_) {
      if (series.kind == RowKind::kDense) continue;
      const std::size_t row = NearestRow(comparison_, series, kShownRatio);
      const SelectionLog& log = comparison_.selections[row];
      if (log.num_layers() == 0) continue;
      const std::string name = comparison_.rows[row].name();
      const bool open = body.empty() || log.num_layers() <= kMostOpenLayers;
      body += fmt::format("<details{}><summary>{}</summary>\n<div class=\"layers\">\n",
                          open ? " open=\"\"" : "", Escaped(name));
      for (std::size_t layer = 0; layer < log.num_layers(); ++layer) {
        body += DrawSelections(log, layer,
                               fmt::format("{}: blocks that layer {} attends to", name, layer));
      }
      body += "</div></details>\n";
    }
    if (body.empty()) return;
    Heading(
        "Which blocks each layer chose",
        fmt::format("The first record of {}, the first {} decode steps at most. Darker: more KV "
                    "heads attend to the block. The tail, always attended to, is left out.",
                    comparison_.files.front().name, SelectionLog::kMostSteps));
    html_ += body;
  }

  void Tables() {
    Heading("All rows", "By score.");
    const std::vector<TableColumn> columns = TableColumns(comparison_);
    for (std::size_t f = 0; f < comparison_.files.size(); ++f) {
      html_ += fmt::format("<div class=\"wide\"><table>\n<caption>{}</caption>\n<tr><th>row</th>",
                           Escaped(comparison_.files[f].name));
      for (const TableColumn& column : columns) html_ += "<th>" + Escaped(column.title) + "</th>";
      html_ += "<th>options</th></tr>\n";
      for (const std::size_t r : RowsByScore(comparison_, f)) {
        html_ += "<tr><td>" + Escaped(comparison_.rows[r].name()) + "</td>";
        for (const TableColumn& column : columns) {
          html_ += "<td>" + Escaped(column.text(comparison_.cell(r, f))) + "</td>";
        }
        html_ += "<td class=\"text\">" + Escaped(OptionsText(comparison_.rows[r].options)) +
                 "</td></tr>\n";
      }
      html_ += "</table></div>\n";
    }
  }

  const Comparison& comparison_;
  const std::vector<Series> series_;
  std::string html_;
};

}  // namespace

std::string CompareHtml(const Comparison& comparison) { return Page(comparison).Make(); }

}  // namespace esa
