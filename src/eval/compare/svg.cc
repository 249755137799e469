#include "eval/compare/svg.h"

#include <fmt/format.h>

#include <array>

namespace esa {
namespace {

// Around the origin: square, diamond, two triangles, cross. A circle is not a path.
constexpr std::array<const char*, Svg::kMarkers> kShapes = {
    "",
    "M-4 -4H4V4H-4Z",
    "M0 -5.6L5.6 0L0 5.6L-5.6 0Z",
    "M0 -5.2L5 3.8H-5Z",
    "M0 5.2L5 -3.8H-5Z",
    "M-1.6 -5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z"};

std::string TitleElement(std::string_view title) {
  return title.empty() ? "" : "<title>" + Escaped(title) + "</title>";
}

}  // namespace

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Svg::Svg(double width, double height, std::string_view label)
    : body_(fmt::format("<svg viewBox=\"0 0 {:.4g} {:.4g}\" width=\"{:.4g}\" height=\"{:.4g}\" "
                        "role=\"img\" aria-label=\"{}\">\n",
                        width, height, width, height, Escaped(label))) {}

void Svg::Line(double x1, double y1, double x2, double y2, std::string_view css) {
  body_ +=
      fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                  css, x1, y1, x2, y2);
}

void Svg::Polyline(const std::vector<std::pair<double, double>>& points, std::string_view css) {
  body_ += fmt::format("<polyline class=\"{}\" points=\"", css);
  for (const auto& [x, y] : points) body_ += fmt::format("{:.1f},{:.1f} ", x, y);
  body_ += "\"/>\n";
}

void Svg::Rect(double x, double y, double width, double height, std::string_view css,
               std::string_view fill, std::string_view title) {
  body_ += fmt::format(
      "<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" "
      "height=\"{:.1f}\"{}>{}</rect>\n",
      css, x, y, width, height, fill.empty() ? "" : fmt::format(" fill=\"{}\"", fill),
      TitleElement(title));
}

void Svg::Text(double x, double y, std::string_view text, std::string_view css,
               std::string_view style) {
  body_ += fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\"{}>{}</text>\n", css, x, y,
                       style.empty() ? "" : fmt::format(" style=\"{}\"", style), Escaped(text));
}

void Svg::VerticalText(double x, double y, std::string_view text, std::string_view css) {
  body_ += fmt::format(
      "<text class=\"{}\" transform=\"translate({:.1f} {:.1f}) rotate(-90)\">{}</text>\n", css, x,
      y, Escaped(text));
}

void Svg::Marker(int shape, double x, double y, std::string_view css, std::string_view title) {
  const std::string tooltip = TitleElement(title);
  if (shape == 0) {
    body_ += fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.4\">{}</circle>\n",
                         css, x, y, tooltip);
    return;
  }
  body_ +=
      fmt::format("<path class=\"{}\" transform=\"translate({:.1f} {:.1f})\" d=\"{}\">{}</path>\n",
                  css, x, y, kShapes[static_cast<std::size_t>(shape)], tooltip);
}

std::string Svg::Finish() { return std::move(body_) + "</svg>\n"; }

}  // namespace esa
