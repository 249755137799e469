#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/compare/charts.h"
#include "eval/compare/svg.h"

namespace esa {
namespace {

constexpr double kWidth = 520;
constexpr double kHeight = 330;
constexpr double kLeft = 54;
constexpr double kRight = 30;
constexpr double kTop = 14;
constexpr double kBottom = 48;
constexpr double kZeroPlace = 64;  // width of the place for 0, where it is needed
constexpr int kMostTicks = 6;

// "64 KiB", "1 MiB" for a power of two.
std::string PowerText(int exponent) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  const int unit = std::clamp(exponent / 10, 0, 5);
  return fmt::format("{:g} {}", std::exp2(exponent - 10 * unit), kUnits[unit]);
}

// Bytes to x: powers of two evenly spread, and 0 to the left of them.
class ByteAxis {
 public:
  explicit ByteAxis(const Chart& chart) {
    double least = 0;
    double most = 0;
    for (const ChartSeries& series : chart.series) {
      for (const ChartPoint& point : series.points) {
        if (point.x <= 0) {
          has_zero_ = true;
          continue;
        }
        least = least == 0 ? point.x : std::min(least, point.x);
        most = std::max(most, point.x);
      }
    }
    has_powers_ = most > 0;
    if (!has_powers_) return;
    first_ = static_cast<int>(std::floor(std::log2(least)));
    last_ = std::max(first_ + 1, static_cast<int>(std::ceil(std::log2(most))));
    step_ = (last_ - first_ + kMostTicks - 1) / kMostTicks;
  }

  double At(double bytes) const {
    if (bytes <= 0) return kLeft + (has_powers_ ? kZeroPlace / 2 : (kWidth - kLeft - kRight) / 2);
    const double part = (std::log2(bytes) - first_) / (last_ - first_);
    return begin() + part * (kWidth - kRight - begin());
  }

  void Draw(Svg& svg, const std::string& label) const {
    const double base = kHeight - kBottom;
    for (int e = first_; has_powers_ && e <= last_; e += step_) {
      const double x = At(std::exp2(e));
      svg.Line(x, kTop, x, base, "grid");
      svg.Text(x, base + 17, PowerText(e), "tick mid");
    }
    if (has_zero_) {
      svg.Text(At(0), base + 17, "0", "tick mid");
      if (has_powers_) svg.Line(begin() - 6, kTop, begin() - 6, base, "break");
    }
    svg.Line(kLeft, base, kWidth - kRight, base, "axis");
    svg.Text((kLeft + kWidth - kRight) / 2, kHeight - 8, label, "label mid");
  }

 private:
  double begin() const { return kLeft + (has_zero_ ? kZeroPlace : 8); }

  bool has_zero_ = false;
  bool has_powers_ = false;
  int first_ = 0;  // exponents
  int last_ = 1;
  int step_ = 1;
};

class ValueAxis {
 public:
  explicit ValueAxis(double most) : most_(most) {}

  double At(double value) const {
    const double base = kHeight - kBottom;
    // A little room above, so that markers at the top are whole.
    return base - value / most_ * (base - kTop - 6);
  }

  void Draw(Svg& svg, const std::string& label) const {
    constexpr int kTicks = 5;
    for (int i = 0; i <= kTicks; ++i) {
      const double value = most_ * i / kTicks;
      svg.Line(kLeft, At(value), kWidth - kRight, At(value), "grid");
      svg.Text(kLeft - 7, At(value) + 4, fmt::format("{:.3g}", value), "tick end");
    }
    svg.VerticalText(14, (kTop + kHeight - kBottom) / 2, label, "label mid");
  }

 private:
  double most_;
};

}  // namespace

std::string DrawChart(const Chart& chart) {
  Svg svg(kWidth, kHeight, chart.label);
  const ByteAxis x(chart);
  const ValueAxis y(chart.y_most);
  y.Draw(svg, chart.y_label);
  x.Draw(svg, chart.x_label);
  if (chart.dense) {
    const double at = y.At(*chart.dense);
    svg.Line(kLeft, at, kWidth - kRight, at, "dense");
    // Below the line where it is at the top, where most points are.
    svg.Text(kWidth - kRight - 4, at + (at < kTop + 40 ? 15 : -6),
             fmt::format("dense {:.2f}", *chart.dense), "tick end");
  }
  for (const ChartSeries& series : chart.series) {
    std::vector<std::pair<double, double>> line;
    for (const ChartPoint& point : series.points) line.emplace_back(x.At(point.x), y.At(point.y));
    if (line.size() > 1) svg.Polyline(line, "line " + series.style.css);
  }
  for (const ChartSeries& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      svg.Marker(series.style.marker, x.At(point.x), y.At(point.y), "mark " + series.style.css,
                 point.tooltip);
    }
  }
  return svg.Finish();
}

}  // namespace esa
