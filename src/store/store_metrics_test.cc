#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "esa/metrics.h"

namespace esa {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> Lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Names by their types, as the TYPE lines say.
std::map<std::string, std::string> TypesIn(const std::string& text) {
  static const std::regex kType("# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)");
  std::map<std::string, std::string> types;
  for (const std::string& line : Lines(text)) {
    std::smatch match;
    if (std::regex_match(line, match, kType)) types[match[1]] = match[2];
  }
  return types;
}

std::set<std::string> NamesInDocument() {
  std::ifstream file(ESA_SOURCE_DIR "/docs/metrics.md");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  static const std::regex kRow("\n\\| `(esa_store_[a-z_]+)` \\|");
  std::set<std::string> names;
  for (std::sregex_iterator i(text.begin(), text.end(), kRow), end; i != end; ++i) {
    names.insert((*i)[1]);
  }
  return names;
}

StoreStats Stack() {
  StoreStats stats;
  stats.backend = "memory|posix";
  stats.tiers.resize(2);
  stats.tiers[0].backend = "memory";
  stats.tiers[1].backend = "posix";
  return stats;
}

TEST(PrometheusText, NamesWhatTheDocumentNames) {
  std::set<std::string> names;
  for (const auto& [name, type] : TypesIn(PrometheusText(Stack()))) {
    EXPECT_EQ(type == "counter", name.ends_with("_total")) << name;
    names.insert(name);
  }
  EXPECT_EQ(names, NamesInDocument());
}

// The binding names every field, so that one more field does not compile until it is exported.
TEST(PrometheusText, HasEveryField) {
  StoreStats stats;
  auto& [backend, blocks, bytes, capacity_bytes, lookup_hits, lookup_misses, dumped_blocks,
         dumped_bytes, loaded_slices, loaded_bytes, evicted_blocks, quarantined_blocks,
         dump_failures, load_failures, cancelled_parts, refused_blocks, foreign_blocks,
         promoted_blocks, removed_leftovers, dump_seconds, load_seconds, io_threads, uring_threads,
         direct_folders, pending_tasks, unwritten_bytes, tiers] = stats;
  std::map<std::string, std::uint64_t*> fields = {{"blocks", &blocks},
                                                  {"bytes", &bytes},
                                                  {"capacity_bytes", &capacity_bytes},
                                                  {"lookup_hits_total", &lookup_hits},
                                                  {"lookup_misses_total", &lookup_misses},
                                                  {"dumped_blocks_total", &dumped_blocks},
                                                  {"dumped_bytes_total", &dumped_bytes},
                                                  {"loaded_slices_total", &loaded_slices},
                                                  {"loaded_bytes_total", &loaded_bytes},
                                                  {"evicted_blocks_total", &evicted_blocks},
                                                  {"quarantined_blocks_total", &quarantined_blocks},
                                                  {"dump_failures_total", &dump_failures},
                                                  {"load_failures_total", &load_failures},
                                                  {"cancelled_parts_total", &cancelled_parts},
                                                  {"refused_blocks_total", &refused_blocks},
                                                  {"foreign_blocks_total", &foreign_blocks},
                                                  {"promoted_blocks_total", &promoted_blocks},
                                                  {"removed_leftovers_total", &removed_leftovers},
                                                  {"io_threads", &io_threads},
                                                  {"uring_threads", &uring_threads},
                                                  {"direct_folders", &direct_folders},
                                                  {"pending_tasks", &pending_tasks},
                                                  {"unwritten_bytes", &unwritten_bytes}};
  std::uint64_t value = 1000;
  for (auto& [name, field] : fields) *field = ++value;
  dump_seconds = 0.125;
  load_seconds = 1e-9;
  backend = "posix";
  tiers.clear();
  const std::vector<std::string> lines = Lines(PrometheusText(stats));
  for (const auto& [name, field] : fields) {
    EXPECT_THAT(lines,
                Contains("esa_store_" + name + "{backend=\"posix\"} " + std::to_string(*field)));
  }
  EXPECT_THAT(lines, Contains("esa_store_dump_seconds_total{backend=\"posix\"} 0.125"));
  EXPECT_THAT(lines, Contains("esa_store_load_seconds_total{backend=\"posix\"} 1e-09"));
  EXPECT_EQ(lines.size(), 3 * (fields.size() + 2));
}

TEST(PrometheusText, KeepsTheRulesOfTheFormat) {
  static const std::regex kHelp("# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) [^\n]+");
  static const std::regex kSample(
      "([a-zA-Z_:][a-zA-Z0-9_:]*)"
      "(\\{[a-zA-Z_][a-zA-Z0-9_]*=\"([^\"\\\\]|\\\\[\\\\\"n])*\""
      "(,[a-zA-Z_][a-zA-Z0-9_]*=\"([^\"\\\\]|\\\\[\\\\\"n])*\")*\\})? [0-9.e+-]+");
  const std::string text = PrometheusText(Stack(), {{"host", "a\"b\\c\nd"}, {"1st rack", ""}});
  EXPECT_TRUE(text.ends_with("\n"));
  std::string metric;  // HELP, TYPE, then all its samples: no metric is taken up twice
  std::set<std::string> metrics, series;
  for (const std::string& line : Lines(text)) {
    std::smatch match;
    if (std::regex_match(line, match, kHelp)) {
      metric = match[1];
      EXPECT_TRUE(metrics.insert(metric).second) << line;
    } else if (line.starts_with("#")) {
      EXPECT_TRUE(line.starts_with("# TYPE " + metric + " ")) << line;
    } else {
      ASSERT_TRUE(std::regex_match(line, match, kSample)) << line;
      EXPECT_EQ(match[1], metric);
      EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line;
    }
  }
  EXPECT_EQ(series.size(), 3 * metrics.size());
  EXPECT_THAT(text,
              HasSubstr("{backend=\"memory|posix\",host=\"a\\\"b\\\\c\\nd\",_1st_rack=\"\"}"));
}

TEST(PrometheusText, SetsTiersApart) {
  StoreStats stats = Stack();
  stats.lookup_hits = 7;
  stats.tiers[0].lookup_hits = 5;
  stats.tiers[1].lookup_hits = 2;
  stats.tiers[1].backend = "memory";
  const auto lines = Lines(PrometheusText(stats, {{"tier", "mine"}, {"a b", "x"}, {"a_b", "y"}}));
  const std::string shared = "esa_store_lookup_hits_total{backend=\"memory|posix\",a_b=\"x\"";
  EXPECT_THAT(lines, Contains(shared + "} 7"));
  EXPECT_THAT(lines, Contains(shared + ",tier=\"memory\"} 5"));
  EXPECT_THAT(lines, Contains(shared + ",tier=\"memory#2\"} 2"));
}

TEST(PrometheusText, HasNoLabelsWithoutAStore) {
  const std::string text = PrometheusText(StoreStats());
  EXPECT_THAT(text, HasSubstr("\nesa_store_blocks 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("{")));
}

}  // namespace
}  // namespace esa
