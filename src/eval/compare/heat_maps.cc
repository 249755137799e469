#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "eval/compare/charts.h"
#include "eval/compare/svg.h"

namespace esa {
namespace {

constexpr std::size_t kMostDepths = 12;  // more are put into ten bins
constexpr int kBins = 10;

struct Colour {
  double red, green, blue;
};

// Dark blue over grey to yellow: rises in lightness, and is told apart without red and green.
// Source: the ends and the middle of cividis, Nuñez et al., PLOS ONE 13(7), 2018.
constexpr std::array<Colour, 3> kScale = {{{0, 32, 77}, {124, 123, 120}, {255, 234, 70}}};

Colour ColourOf(double score) {
  const double at = std::clamp(score, 0.0, 1.0) * (kScale.size() - 1);
  const auto low = std::min(static_cast<std::size_t>(at), kScale.size() - 2);
  const double part = at - static_cast<double>(low);
  const auto mix = [part](double a, double b) { return a + part * (b - a); };
  const Colour& a = kScale[low];
  const Colour& b = kScale[low + 1];
  return {mix(a.red, b.red), mix(a.green, b.green), mix(a.blue, b.blue)};
}

std::string Css(const Colour& c) {
  return fmt::format("rgb({:.0f},{:.0f},{:.0f})", c.red, c.green, c.blue);
}

const char* TextOn(double score) { return score > 0.45 ? "fill:#111" : "fill:#fff"; }

struct Sample {
  double depth;
  std::int64_t tokens;
  double score;
};

std::vector<Sample> SamplesOf(const Comparison& comparison, std::size_t row,
                              std::string_view dataset) {
  std::vector<Sample> samples;
  for (std::size_t f = 0; f < comparison.files.size(); ++f) {
    const CompareFile& file = comparison.files[f];
    if (file.dataset.name != dataset) continue;
    for (std::size_t i = 0; i < file.records.size(); ++i) {
      const Record& record = file.records[i];
      if (!record.depth || !record.tokens) continue;
      samples.push_back({*record.depth, *record.tokens, comparison.cell(row, f).scores[i]});
    }
  }
  return samples;
}

std::size_t BinOf(double depth) {
  return static_cast<std::size_t>(std::clamp(static_cast<int>(depth * kBins), 0, kBins - 1));
}

}  // namespace

std::optional<NeedleMap> MakeNeedleMap(const Comparison& comparison, std::size_t row,
                                       std::string_view dataset) {
  const std::vector<Sample> samples = SamplesOf(comparison, row, dataset);
  if (samples.empty()) return std::nullopt;
  std::set<double> depths;
  std::set<std::int64_t> tokens;
  for (const Sample& sample : samples) {
    depths.insert(sample.depth);
    tokens.insert(sample.tokens);
  }
  NeedleMap map;
  map.tokens.assign(tokens.begin(), tokens.end());
  const bool exact = depths.size() <= kMostDepths;
  if (exact) {
    for (const double depth : depths) map.depths.push_back(fmt::format("{:.3g} %", 100 * depth));
  } else {
    for (int bin = 0; bin < kBins; ++bin) {
      map.depths.push_back(fmt::format("{}-{} %", 10 * bin, 10 * (bin + 1)));
    }
  }
  map.cells.resize(map.depths.size() * map.tokens.size());
  for (const Sample& sample : samples) {
    const auto d =
        exact ? static_cast<std::size_t>(std::distance(depths.begin(), depths.find(sample.depth)))
              : BinOf(sample.depth);
    const auto t =
        static_cast<std::size_t>(std::distance(tokens.begin(), tokens.find(sample.tokens)));
    NeedleMap::Cell& cell = map.cells[d * map.tokens.size() + t];
    cell.sum += sample.score;
    ++cell.records;
  }
  return map;
}

std::string DrawNeedleMap(const NeedleMap& map, const std::string& label) {
  constexpr double kCellWidth = 52;
  constexpr double kCellHeight = 24;
  constexpr double kLeft = 84;
  constexpr double kTop = 6;
  constexpr double kBottom = 42;
  const double right = kLeft + kCellWidth * static_cast<double>(map.tokens.size());
  const double base = kTop + kCellHeight * static_cast<double>(map.depths.size());
  Svg svg(std::max(right + 10, 170.0), base + kBottom, label);
  for (std::size_t d = 0; d < map.depths.size(); ++d) {
    const double y = kTop + kCellHeight * static_cast<double>(d);
    svg.Text(kLeft - 6, y + kCellHeight / 2 + 4, map.depths[d], "tick end");
    for (std::size_t t = 0; t < map.tokens.size(); ++t) {
      const NeedleMap::Cell& cell = map.cells[d * map.tokens.size() + t];
      const double x = kLeft + kCellWidth * static_cast<double>(t);
      const std::string where = fmt::format("fact at {}, {} tokens", map.depths[d], map.tokens[t]);
      if (cell.records == 0) {
        svg.Rect(x, y, kCellWidth - 1, kCellHeight - 1, "none", "", where + ": no record");
        continue;
      }
      const double score = cell.sum / cell.records;
      svg.Rect(x, y, kCellWidth - 1, kCellHeight - 1, "cell", Css(ColourOf(score)),
               fmt::format("{}: {:.1f}, {} records", where, 100 * score, cell.records));
      svg.Text(x + kCellWidth / 2, y + kCellHeight / 2 + 4, fmt::format("{:.0f}", 100 * score),
               "value mid", TextOn(score));
    }
  }
  for (std::size_t t = 0; t < map.tokens.size(); ++t) {
    svg.Text(kLeft + kCellWidth * (static_cast<double>(t) + 0.5), base + 15,
             fmt::format("{}", map.tokens[t]), "tick mid");
  }
  svg.Text((kLeft + right) / 2, base + 34, "tokens", "label mid");
  svg.VerticalText(14, (kTop + base) / 2, "depth of the fact", "label mid");
  return svg.Finish();
}

std::string NeedleGradient() {
  std::string stops;
  for (const Colour& colour : kScale) stops += ", " + Css(colour);
  return "linear-gradient(to right" + stops + ")";
}

std::string DrawSelections(const SelectionLog& log, std::size_t layer, const std::string& label) {
  constexpr double kLeft = 36;
  constexpr double kTop = 18;
  constexpr double kWidth = 140;
  constexpr double kHeight = 130;
  const std::int64_t steps = std::max<std::int64_t>(1, log.num_steps());
  const std::int64_t blocks = std::max<std::int64_t>(1, log.num_blocks());
  Svg svg(kLeft + kWidth + 10, kTop + kHeight + 34, label);
  svg.Text(kLeft, 12, fmt::format("layer {}", layer), "tick");
  svg.Rect(kLeft, kTop, kWidth, kHeight, "field");
  svg.Raw(fmt::format("<g class=\"chosen\" transform=\"translate({} {}) scale({:.6g} {:.6g})\">\n",
                      kLeft, kTop, kWidth / static_cast<double>(steps),
                      kHeight / static_cast<double>(blocks)));
  for (int heads = 1; heads <= log.num_kv_heads(); ++heads) {
    std::string path;
    for (std::int64_t block = 0; block < blocks; ++block) {
      for (std::int64_t step = 1; step <= steps;) {
        const std::int64_t begin = step++;
        if (log.Heads(layer, begin, block) != heads) continue;
        while (step <= steps && log.Heads(layer, step, block) == heads) ++step;
        path += fmt::format("M{} {}h{}v1h-{}z", begin - 1, blocks - 1 - block, step - begin,
                            step - begin);
      }
    }
    if (path.empty()) continue;
    svg.Raw(
        fmt::format("<path fill-opacity=\"{:.2f}\" d=\"{}\"><title>chosen by {} of {} KV "
                    "heads</title></path>\n",
                    0.3 + 0.7 * heads / log.num_kv_heads(), path, heads, log.num_kv_heads()));
  }
  svg.Raw("</g>\n");
  const double base = kTop + kHeight;
  svg.Text(kLeft - 5, base, "0", "tick end");
  svg.Text(kLeft - 5, kTop + 9, fmt::format("{}", blocks - 1), "tick end");
  svg.VerticalText(12, kTop + kHeight / 2, "block", "tick mid");
  svg.Text(kLeft, base + 14, "1", "tick");
  svg.Text(kLeft + kWidth, base + 14, fmt::format("{}", steps), "tick end");
  svg.Text(kLeft + kWidth / 2, base + 26, "decode step", "tick mid");
  return svg.Finish();
}

}  // namespace esa
