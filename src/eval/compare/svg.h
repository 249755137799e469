// Shapes of an inline SVG. Colours come from classes of the page's style. Private to eval.
//
// Threading: one thread; lengths are in user units, y points down.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace esa {

// Text as it may stand in HTML and in attributes.
std::string Escaped(std::string_view text);

class Svg {
 public:
  // `label` says what is drawn to those who cannot see it.
  Svg(double width, double height, std::string_view label);

  void Line(double x1, double y1, double x2, double y2, std::string_view css);
  void Polyline(const std::vector<std::pair<double, double>>& points, std::string_view css);
  // `fill` is empty or a colour; `title`, where there is one, is the tooltip.
  void Rect(double x, double y, double width, double height, std::string_view css,
            std::string_view fill = {}, std::string_view title = {});
  void Text(double x, double y, std::string_view text, std::string_view css,
            std::string_view style = {});
  void VerticalText(double x, double y, std::string_view text, std::string_view css);
  // One of kMarkers shapes, about 9 units wide.
  void Marker(int shape, double x, double y, std::string_view css, std::string_view title = {});
  void Raw(std::string_view markup) { body_ += markup; }

  // The element. The picture is over.
  std::string Finish();

  static constexpr int kMarkers = 6;

 private:
  std::string body_;
};

}  // namespace esa
