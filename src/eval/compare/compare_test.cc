#include "eval/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/text_file.h"
#include "eval/compare/testing/comparison_fixture.h"

namespace esa {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class CompareTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "esa-compare-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }

  CompareRequest RequestFor(const std::vector<std::string>& algorithms, int records = 3) {
    CompareRequest request;
    request.rows = *PlanRows({.algorithms = algorithms, .ratios = {0.1}});
    std::erase_if(request.rows, [](const CompareRow& row) {
      return row.kind == RowKind::kBaseline;  // fewer lines to look at
    });
    const std::string data = Write("n.jsonl", NeedleLines(records));
    request.files = *ReadCompareFiles(std::vector<std::string>{data}, 0);
    request.config.block_tokens = 16;
    request.config.audit.every = 8;
    request.audited_records = 1;
    request.out_dir = folder_ + "/out";
    return request;
  }

  std::string folder_;
  FakeEngine fake_;
};

TEST_F(CompareTest, AnswersEachRowAndAuditsTheFirstRecords) {
  const auto compared = Compare(RequestFor({"ESA"}), fake_.Engine());
  ASSERT_TRUE(compared.ok()) << compared.error().message;
  EXPECT_THAT(fake_.answered, ElementsAre("dense q0", "dense q1", "dense q2", "ESA q0 audited",
                                          "ESA q1", "ESA q2"));
  EXPECT_EQ(fake_.opened, 3);
  EXPECT_EQ(compared->cell(0, 0).score, 100);
  EXPECT_EQ(compared->cell(1, 0).score, 33.33);
  EXPECT_EQ(compared->cell(0, 0).Cost("missed_mass"), std::nullopt);
  EXPECT_EQ(compared->cell(1, 0).Cost("missed_mass"), 0.25);
  EXPECT_EQ(compared->cell(1, 0).Cost("fetched_bytes_per_token"), 100);
  EXPECT_EQ(compared->selections[1].Heads(0, 1, 61), 1);
  EXPECT_EQ(compared->selections[1].Heads(0, 1, 60), 0);
}

TEST_F(CompareTest, AnInterruptedRunGoesOn) {
  fake_.broken_at = 2;
  const auto broken = Compare(RequestFor({"ESA"}), fake_.Engine());
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().message, "row \"dense\" on n: record 3 of 3: the disk is gone");
  fake_.broken_at = -1;
  fake_.answered.clear();
  const auto first = Compare(RequestFor({"ESA"}), fake_.Engine());
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_THAT(fake_.answered, ElementsAre("dense q2", "ESA q0 audited", "ESA q1", "ESA q2"));
  EXPECT_EQ(first->cell(0, 0).resumed, 2u);

  fake_.answered.clear();
  fake_.opened = 0;
  const auto again = Compare(RequestFor({"ESA"}), fake_.Engine());
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_THAT(fake_.answered, IsEmpty());
  EXPECT_EQ(fake_.opened, 0);
  EXPECT_EQ(CompareJson(*again), CompareJson(*first));
  EXPECT_EQ(CompareHtml(*again), CompareHtml(*first));

  // Other settings, other records: what is there is not theirs.
  CompareRequest other = RequestFor({"ESA"});
  other.rows[1].options["init_window_sz"] = std::int64_t{2};
  ASSERT_TRUE(Compare(std::move(other), fake_.Engine()).ok());
  EXPECT_EQ(fake_.answered.size(), 3u);
  ASSERT_TRUE(Compare(RequestFor({"ESA"}, 2), fake_.Engine()).ok());
  EXPECT_EQ(fake_.answered.size(), 7u);
}

TEST_F(CompareTest, ARowThatWasNotSparseIsAnError) {
  fake_.lazy_algorithm = "ESA";
  const auto compared = Compare(RequestFor({"ESA"}), fake_.Engine());
  ASSERT_FALSE(compared.ok());
  EXPECT_THAT(compared.error().message,
              AllOf(HasSubstr("row \"ESA 0.1\" on n:"), HasSubstr("the sparse path was not active"),
                    HasSubstr("record 1 was attended to whole, 63 blocks")));
}

TEST_F(CompareTest, ABudgetThatCoversEverythingIsAnError) {
  fake_.lazy_algorithm = "ESA";
  CompareRequest request = RequestFor({"ESA"});
  request.rows[1].options["min_blocks"] = std::int64_t{1000};
  const auto compared = Compare(std::move(request), fake_.Engine());
  ASSERT_FALSE(compared.ok());
  EXPECT_THAT(compared.error().message,
              AllOf(HasSubstr("its budget covers every record, of 63 blocks at most"),
                    HasSubstr("--block-tokens")));
}

TEST_F(CompareTest, FilesOfOneNameGoByTheirPaths) {
  std::filesystem::create_directory(folder_ + "/b");
  const std::string one = Write("n.jsonl", NeedleLines(3));
  const std::string two = Write("b/n.jsonl", "\n" + NeedleLines(1));
  const auto files = ReadCompareFiles(std::vector<std::string>{one, two}, 2);
  ASSERT_TRUE(files.ok()) << files.error().message;
  EXPECT_EQ((*files)[0].name, one);
  EXPECT_EQ((*files)[1].name, two);
  EXPECT_EQ((*files)[0].records.size(), 2u);
  EXPECT_EQ((*files)[1].records.size(), 1u);
}

TEST_F(CompareTest, WrongFilesAreNamed) {
  const auto error_of = [&](const std::string& lines) {
    const auto files = ReadCompareFiles(std::vector<std::string>{Write("w.jsonl", lines)}, 0);
    return files.ok() ? "" : files.error().message;
  };
  const std::string line = R"({"input": "i", "context": "c", "answers": ["a"])";
  EXPECT_THAT(error_of(line + "}\n"), HasSubstr("w.jsonl: record 1: field \"dataset\""));
  EXPECT_THAT(error_of(line + R"(, "dataset": "noodle"})"), HasSubstr("\"noodle\" is not known"));
  EXPECT_THAT(error_of(NeedleLines(1) + line + R"(, "dataset": "qasper"})"),
              HasSubstr("record 2 is of data set \"qasper\""));
  const std::string data = Write("n.jsonl", NeedleLines(1));
  EXPECT_THAT(ReadCompareFiles(std::vector<std::string>{data, data}, 0).error().message,
              HasSubstr("given twice"));
}

TEST(CompareOutput, CsvHasALineForEachRowAndFile) {
  const std::string csv = CompareCsv(ExampleComparison());
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 4 * 2);
  EXPECT_THAT(csv, StartsWith("file,dataset,records,row,series,algorithm,ratio,options,score,"));
  EXPECT_THAT(csv, HasSubstr("data/two.jsonl,needle,2,a<b> 0.2,a<b>,ESA,0.2,"
                             "\"{\"\"sparse_ratio\"\":0.2}\",100.00,1,"));
  // Quoted commas aside, every line has as many fields as the first.
  const auto line_of = [&](int number) {
    std::size_t begin = 0;
    for (int i = 0; i < number; ++i) begin = csv.find('\n', begin) + 1;
    return csv.substr(begin, csv.find('\n', begin) - begin);
  };
  const auto commas = [](const std::string& line) {
    return std::count(line.begin(), line.end(), ',');
  };
  for (int i = 1; i <= 8; ++i) EXPECT_EQ(commas(line_of(i)), commas(line_of(0))) << line_of(i);
}

TEST(CompareOutput, JsonHasCostsAndScoresOfRecords) {
  const auto json = nlohmann::json::parse(CompareJson(ExampleComparison()));
  EXPECT_EQ(json.at("settings").at("model"), "m&m");
  EXPECT_EQ(json.at("files").at(1).at("depth"), (nlohmann::json{0.0, 1.0}));
  const auto& row = json.at("rows").at(2);
  EXPECT_EQ(row.at("row"), "a<b> 0.2");
  EXPECT_EQ(row.at("options").at("sparse_ratio"), 0.2);
  const auto& cell = row.at("data").at(1);
  EXPECT_EQ(cell.at("scores"), (nlohmann::json{1.0, 1.0}));
  EXPECT_EQ(cell.at("cost").at("fetched_bytes_per_token"), 600);
  // Of the one record that was audited, not diluted by the other.
  EXPECT_EQ(cell.at("cost").at("missed_mass"), 0.125);
}

TEST(CompareOutput, TableIsSortedByScoreWithinAFile) {
  const std::string table = CompareTable(ExampleComparison());
  const auto two = table.find("two, 2 records");
  ASSERT_NE(two, std::string::npos);
  EXPECT_LT(table.find("a<b> 0.1"), table.find("a<b> 0.2"));
  EXPECT_GT(table.find("a<b> 0.1", two), table.find("a<b> 0.2", two));
  EXPECT_THAT(table, HasSubstr("12.50 %"));
}

}  // namespace
}  // namespace esa
