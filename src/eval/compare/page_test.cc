#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "eval/compare.h"
#include "eval/compare/charts.h"
#include "eval/compare/svg.h"
#include "eval/compare/testing/comparison_fixture.h"

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// The first fault of a page whose every element is closed, or closes itself; "" where there is
// none.
std::string FaultOf(const std::string& html) {
  std::vector<std::string> open;
  std::size_t at = html.starts_with("<!DOCTYPE html>") ? 15 : 0;
  while ((at = html.find('<', at)) != std::string::npos) {
    const std::size_t end = html.find('>', at);
    if (end == std::string::npos) return "an unfinished tag: " + html.substr(at, 40);
    const std::string tag = html.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag.find('<') != std::string::npos) return "a bare <: " + tag;
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "an open quote: " + tag;
    const std::string name =
        tag.substr(tag[0] == '/', tag.find_first_of(" /", 1) - (tag[0] == '/'));
    if (tag.ends_with("/")) continue;
    if (tag[0] != '/') {
      open.push_back(name);
      continue;
    }
    if (open.empty() || "/" + open.back() != tag) return "closed out of order: " + tag;
    open.pop_back();
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

TEST(ComparePage, CheckerSeesFaults) {
  EXPECT_EQ(FaultOf("<p class=\"a\">x<br/></p>"), "");
  EXPECT_NE(FaultOf("<p><b>x</p></b>"), "");
  EXPECT_NE(FaultOf("<p>"), "");
  EXPECT_NE(FaultOf("<p class=\"a>x</p>"), "");
}

TEST(ComparePage, IsWellFormedAndNeedsNothingElse) {
  const std::string html = CompareHtml(ExampleComparison());
  EXPECT_EQ(FaultOf(html), "");
  EXPECT_THAT(html, AllOf(Not(HasSubstr("http")), Not(HasSubstr("src=")), Not(HasSubstr("nan")),
                          Not(HasSubstr("inf"))));
  EXPECT_THAT(html,
              AllOf(HasSubstr("a&lt;b&gt; 0.1"), HasSubstr("m&amp;m"), Not(HasSubstr("a<b>"))));
  for (const char* part : {"Average of all files", "Score against bytes fetched", "Missed mass",
                           "needle: score by depth and length", "Which blocks each layer chose",
                           "prefers-color-scheme: dark", "dense 100.00"}) {
    EXPECT_THAT(html, HasSubstr(part));
  }
}

TEST(ComparePage, LeavesOutWhatIsNotThere) {
  Comparison comparison = ExampleComparison();
  comparison.files.resize(1);
  comparison.files[0].records.assign(2, {});
  std::vector<CompareCell> cells;
  for (std::size_t i = 0; i < comparison.cells.size(); i += 2) {
    cells.push_back(comparison.cells[i]);
    cells.back().costs[0].audited_steps = 0;
  }
  comparison.cells = std::move(cells);
  comparison.selections.assign(comparison.rows.size(), {});
  const std::string html = CompareHtml(comparison);
  EXPECT_EQ(FaultOf(html), "");
  EXPECT_THAT(html, AllOf(Not(HasSubstr("Average")), Not(HasSubstr("Missed mass")),
                          Not(HasSubstr("by depth")), Not(HasSubstr("Which blocks"))));
}

// The numbers after every `attribute="` of a picture.
std::vector<double> NumbersOf(const std::string& svg, const std::string& attribute) {
  std::vector<double> numbers;
  const std::string key = " " + attribute + "=\"";
  for (std::size_t at = 0; (at = svg.find(key, at)) != std::string::npos; at += key.size()) {
    numbers.push_back(std::stod(svg.substr(at + key.size())));
  }
  return numbers;
}

TEST(ComparePage, ChartPutsBytesOnALogarithmicAxisWithAPlaceForZero) {
  const auto points = [](std::vector<ChartPoint> p) {
    return Chart{.label = "l",
                 .x_label = "x",
                 .y_label = "y",
                 .y_most = 100,
                 .dense = {},
                 .series = {{.style = {"s0", 0}, .points = std::move(p)}}};
  };
  const std::string svg =
      DrawChart(points({{0, 0, ""}, {1024, 50, ""}, {4096, 100, ""}, {16384, 100, ""}}));
  const std::vector<double> x = NumbersOf(svg, "cx");
  const std::vector<double> y = NumbersOf(svg, "cy");
  ASSERT_EQ(x.size(), 4u);
  EXPECT_LT(x[0], x[1]);
  EXPECT_NEAR(x[2] - x[1], x[3] - x[2], 0.2);
  EXPECT_NEAR(y[0] - y[1], y[1] - y[2], 0.2);
  EXPECT_EQ(y[2], y[3]);
  for (const double at : x) EXPECT_TRUE(at > 50 && at < 520) << at;
  for (const double at : y) EXPECT_TRUE(at > 10 && at < 290) << at;
  EXPECT_THAT(svg, AllOf(HasSubstr("1 KiB"), HasSubstr("16 KiB"), HasSubstr(">0</text>")));
  for (const auto& only : {points({{0, 1, ""}}), points({{7, 1, ""}}), points({})}) {
    EXPECT_EQ(FaultOf(DrawChart(only)), "");
    EXPECT_THAT(DrawChart(only), Not(HasSubstr("nan")));
  }
}

TEST(ComparePage, NeedleMapAveragesByPlace) {
  const Comparison comparison = ExampleComparison();
  const auto map = MakeNeedleMap(comparison, 2, "needle");
  ASSERT_TRUE(map.has_value());
  EXPECT_THAT(map->tokens, ElementsAre(1024));
  EXPECT_THAT(map->depths, ElementsAre("0 %", "100 %"));
  EXPECT_EQ(map->cells[0].sum / map->cells[0].records, 1);
  EXPECT_EQ(map->cells[1].sum / map->cells[1].records, 0.5);
  EXPECT_FALSE(MakeNeedleMap(comparison, 2, "qasper").has_value());
}

TEST(ComparePage, ManyDepthsGoIntoTen) {
  Comparison comparison = ExampleComparison();
  comparison.files.resize(1);
  comparison.files[0].records.assign(21, comparison.files[0].records[0]);
  for (int i = 0; i <= 20; ++i) {
    comparison.files[0].records[static_cast<std::size_t>(i)].depth = i / 20.0;
  }
  for (CompareCell& cell : comparison.cells) cell.scores.assign(21, 1.0);
  const auto map = MakeNeedleMap(comparison, 0, "needle");
  ASSERT_EQ(map->depths.size(), 10u);
  EXPECT_EQ(map->cells[0].records, 2);
  EXPECT_EQ(map->cells[9].records, 3);
}

TEST(ComparePage, SelectionsAreRunsOfSteps) {
  SelectionLog log;
  const std::vector<std::int32_t> both = {0, 2};
  const std::vector<std::int32_t> first = {0};
  for (std::int64_t step = 1; step <= 3; ++step) {
    log.Add({.step = step, .layer = 0, .kv_head = 0, .blocks = both, .sealed_blocks = 4});
    log.Add({.step = step, .layer = 0, .kv_head = 1, .blocks = first, .sealed_blocks = 4});
  }
  log.Add({.step = SelectionLog::kMostSteps + 1, .layer = 0, .blocks = both, .sealed_blocks = 4});
  EXPECT_EQ(log.num_steps(), 3);
  EXPECT_EQ(log.num_blocks(), 4);
  EXPECT_EQ(log.Heads(0, 3, 0), 2);
  EXPECT_EQ(log.Heads(0, 3, 2), 1);
  const std::string svg = DrawSelections(log, 0, "l");
  EXPECT_EQ(FaultOf(svg), "");
  // Block 0 is the lowest of four rows.
  EXPECT_THAT(svg, AllOf(HasSubstr("d=\"M0 1h3v1h-3z\""), HasSubstr("d=\"M0 3h3v1h-3z\"")));
  const auto again = SelectionLog::FromJson(log.ToJson());
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->ToJson(), log.ToJson());
  EXPECT_FALSE(SelectionLog::FromJson("{}").ok());
}

}  // namespace
}  // namespace esa
