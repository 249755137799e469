#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/compare.h"

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> NamesOf(const ComparePlan& plan, bool oracle = false) {
  const auto rows = PlanRows(plan);
  EXPECT_TRUE(rows.ok()) << rows.error().message;
  std::vector<std::string> names;
  for (const CompareRow& row : *rows) {
    if (oracle || row.series != "Oracle") names.push_back(row.name());
  }
  return names;
}

std::string ErrorOf(const ComparePlan& plan) {
  const auto rows = PlanRows(plan);
  return rows.ok() ? "" : rows.error().message;
}

TEST(ComparePlan, ReferencesStandAroundTheAlgorithms) {
  EXPECT_THAT(
      NamesOf({.algorithms = {"ESA"}, .ratios = {0.05, 0.1}}),
      ElementsAre("dense", "ESA 0.05", "ESA 0.1", "random 0.05", "random 0.1", "streaming"));
  const auto rows = PlanRows({.algorithms = {"ESA", "dense", "random"}, .ratios = {0.1}});
  EXPECT_EQ(rows->front().kind, RowKind::kDense);
  EXPECT_EQ((*rows)[rows->size() - 3].kind, RowKind::kCandidate);
  EXPECT_EQ(rows->back().kind, RowKind::kBaseline);
}

TEST(ComparePlan, WithoutNamesAllAreCompared) {
  const auto names = NamesOf({.ratios = {0.1}}, true);
  for (const std::string& name : SparseAttentionNames()) {
    EXPECT_EQ(std::count_if(names.begin(), names.end(),
                            [&](const std::string& row) { return row.starts_with(name); }),
              1)
        << name;
  }
}

TEST(ComparePlan, RatioAndStrideGoToThoseThatKnowThem) {
  const auto rows = PlanRows({.algorithms = {"ESA"}, .ratios = {0.1}, .stride = 7});
  ASSERT_TRUE(rows.ok());
  for (const CompareRow& row : *rows) {
    const bool knows = row.series == "ESA" || row.series == "random";
    EXPECT_EQ(row.options.contains("retrieval_stride"), knows) << row.name();
    if (!knows) continue;
    EXPECT_EQ(row.options.at("retrieval_stride"), OptionValue(std::int64_t{7}));
    EXPECT_EQ(row.options.at("sparse_ratio"), OptionValue(0.1));
  }
}

TEST(ComparePlan, OptionsOfAnAlgorithmGoOverThePlan) {
  const ComparePlan plan{.algorithms = {"ESA"},
                         .ratios = {0.1, 0.2},
                         .options = {{"ESA", {{"sparse_ratio", 0.3}}}},
                         .named = {{"slow", "ESA", {{"retrieval_stride", std::int64_t{20}}}}}};
  EXPECT_THAT(NamesOf(plan), ElementsAre("dense", "ESA", "slow 0.1", "slow 0.2", "random 0.1",
                                         "random 0.2", "streaming"));
  const auto rows = PlanRows(plan);
  const auto slow = std::find_if(rows->begin(), rows->end(),
                                 [](const CompareRow& row) { return row.series == "slow"; });
  EXPECT_EQ(slow->options.at("retrieval_stride"), OptionValue(std::int64_t{20}));
}

TEST(ComparePlan, MistakesAreNamed) {
  EXPECT_THAT(ErrorOf({.algorithms = {"guess"}, .ratios = {0.1}}),
              AllOf(HasSubstr("\"guess\""), HasSubstr("ESA")));
  EXPECT_THAT(ErrorOf({.ratios = {1.0}}), HasSubstr("ratio 1: expected"));
  EXPECT_THAT(ErrorOf({.algorithms = {"ESA"}, .ratios = {0.1}, .stride = 2}),
              HasSubstr("retrieval_stride"));
  EXPECT_THAT(ErrorOf({.ratios = {0.1}, .options = {{"ESA", {{"ratio", 0.3}}}}}),
              AllOf(HasSubstr("ratio"), HasSubstr("sparse_ratio")));
  EXPECT_THAT(ErrorOf({.ratios = {0.1}, .options = {{"EAS", {}}}}), HasSubstr("\"EAS\""));
  EXPECT_THAT(ErrorOf({.ratios = {0.1}, .named = {{"ESA", "ESA", {}}}}),
              HasSubstr("two rows are called \"ESA\""));
}

TEST(ComparePlan, NamedRowsAreRead) {
  const auto labelled = ParseNamedAlgorithm("wide window = ESA {\"local_window_sz\": 8}");
  ASSERT_TRUE(labelled.ok());
  EXPECT_EQ(labelled->series, "wide window");
  EXPECT_EQ(labelled->algorithm, "ESA");
  EXPECT_EQ(labelled->options.at("local_window_sz"), OptionValue(std::int64_t{8}));
  const auto bare = ParseNamedAlgorithm("ESA {\"x\": \"a=b\"}");
  ASSERT_TRUE(bare.ok());
  EXPECT_EQ(bare->series, "ESA {\"x\": \"a=b\"}");
  EXPECT_EQ(bare->algorithm, "ESA");
  EXPECT_EQ(ParseNamedAlgorithm("again=ESA")->algorithm, "ESA");
  for (const char* wrong : {"", "=ESA", "label=", "label= {}", "x=ESA {"}) {
    EXPECT_FALSE(ParseNamedAlgorithm(wrong).ok()) << wrong;
  }
}

TEST(ComparePlan, OptionsByAlgorithmAreRead) {
  const auto read = ParseOptionsByAlgorithm(R"({"ESA": {"init_window_sz": 2}, "random": {}})");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->at("ESA").at("init_window_sz"), OptionValue(std::int64_t{2}));
  EXPECT_FALSE(ParseOptionsByAlgorithm("[]").ok());
  EXPECT_FALSE(ParseOptionsByAlgorithm("{").ok());
  EXPECT_THAT(ParseOptionsByAlgorithm(R"({"ESA": 3})").error().message, HasSubstr("\"ESA\""));
}

}  // namespace
}  // namespace esa
