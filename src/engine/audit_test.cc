// Audits against the exact mass, what they set off, and estimates of what is not attended to.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>
#include <regex>
#include <set>

#include "engine/testing/engine_fixture.h"
#include "esa/metrics.h"
#include "esa/sparse_attention.h"

namespace esa {
namespace {

constexpr std::int64_t kPrompt = 20 * kTestBlockTokens + 3;
constexpr int kSteps = 8;

// Attends to every `apart`-th sealed block.
class Every : public SparseAttention {
 public:
  explicit Every(int apart) : apart_(apart) {}

  std::int64_t ResidentBlocks(const SequenceShape& shape) const override {
    return shape.num_blocks();
  }
  void AttentionBegin(AttentionStep& step) override {
    blocks_.clear();
    for (BlockIndex b = 0; b < step.shape().sealed_blocks; b += apart_) blocks_.push_back(b);
    step.Attend(blocks_);
  }

 protected:
  const int apart_;
  std::vector<BlockIndex> blocks_;
};

// What it does not attend to, by the definition: sums over its steps, [num_layers * num_heads].
std::map<int, std::vector<double>>& MissedByLayer() {
  static std::map<int, std::vector<double>> missed;
  return missed;
}

class Watched final : public Every {
 public:
  Watched() : Every(2) {}

  void AttentionBegin(AttentionStep& step) override {
    Every::AttentionBegin(step);
    const SequenceShape& shape = step.shape();
    std::vector<float> mass(static_cast<std::size_t>(shape.num_heads * shape.num_blocks()));
    ASSERT_TRUE(step.AttentionMass(mass));
    std::vector<double>& missed = MissedByLayer()[step.layer()];
    missed.resize(static_cast<std::size_t>(shape.num_heads));
    for (std::size_t at = 0; at < mass.size(); ++at) {
      const auto block = static_cast<std::int64_t>(at) % shape.num_blocks();
      if (block < shape.sealed_blocks && block % apart_ != 0) {
        missed[at / static_cast<std::size_t>(shape.num_blocks())] += mass[at];
      }
    }
  }
};

// Leaves out block 1 and adds it as an estimate. Parts of one token in f32 make that exact.
class Estimated final : public Every {
 public:
  explicit Estimated(bool whole) : Every(1), whole_(whole) {}

  RepresentationSpec Representations() const override {
    return {.part_tokens = 1, .value_mean = true, .type = RepresentationType::kF32};
  }
  void AttentionBegin(AttentionStep& step) override {
    if (whole_) return Every::AttentionBegin(step);
    blocks_.resize(static_cast<std::size_t>(step.shape().sealed_blocks));
    std::iota(blocks_.begin(), blocks_.end(), 0);
    blocks_.erase(blocks_.begin() + 1);
    step.Attend(blocks_);
    for (int head = 0; head < step.shape().num_heads; ++head) AddBlock(step, 1, head);
  }

 private:
  static void AddBlock(AttentionStep& step, BlockIndex block, int head) {
    const RepresentationView view = step.representations();
    const auto dim = static_cast<std::size_t>(view.head_dim);
    const std::span<const float> q =
        step.query().subspan(static_cast<std::size_t>(head) * dim, dim);
    const int kv_head = head / step.shape().group_size();
    std::vector<float> row(dim);
    std::vector<float> value(dim);
    float sum = 0;
    for (int token = 0; token < view.parts; ++token) {
      ReadRow(view, view.mean, block, token, kv_head, row);
      const float dot = std::inner_product(q.begin(), q.end(), row.begin(), 0.0f);
      const float weight = std::exp(dot / std::sqrt(static_cast<float>(dim)));
      ReadRow(view, view.value_mean, block, token, kv_head, row);
      for (std::size_t i = 0; i < dim; ++i) value[i] += weight * row[i];
      sum += weight;
    }
    for (float& v : value) v /= sum;
    step.AddEstimate(head, std::log(sum), value);
  }

  const bool whole_;
};

class AuditTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const auto add = [](const std::string& name, auto make) {
      ASSERT_TRUE(RegisterSparseAttention(
          name, [make](const Options&) -> Result<std::unique_ptr<SparseAttention>> {
            return std::unique_ptr<SparseAttention>(make());
          }));
    };
    add("test_watched", [] { return std::make_unique<Watched>(); });
    add("test_whole", [] { return std::make_unique<Estimated>(true); });
    add("test_estimated", [] { return std::make_unique<Estimated>(false); });
  }

  static EngineRun Run(const EngineSetup& setup) {
    auto run = RunEngine(setup, kPrompt, kSteps);
    EXPECT_TRUE(run.ok()) << run.error().message;
    return run ? std::move(*run) : EngineRun{};
  }

  static double LargestDifference(const EngineRun& a, const EngineRun& b) {
    double largest = 0;
    for (std::size_t step = 0; step < a.logits.size(); ++step) {
      for (std::size_t i = 0; i < a.logits[step].size(); ++i) {
        largest = std::max<double>(largest, std::abs(a.logits[step][i] - b.logits[step][i]));
      }
    }
    return largest;
  }
};

TEST_F(AuditTest, FindsTheMassThatWasNotAttendedTo) {
  MissedByLayer().clear();
  const EngineRun run = Run({.algorithm = "test_watched", .audit = {.every = 1}});
  EXPECT_EQ(run.stats.audited_steps, kSteps);
  std::vector<double> expected;
  for (const auto& [layer, missed] : MissedByLayer()) {
    for (const double sum : missed) expected.push_back(sum / kSteps);
  }
  ASSERT_EQ(run.stats.missed_by_head.size(), expected.size());
  double mean = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(run.stats.missed_by_head[i], expected[i], 1e-5) << i;
    mean += expected[i] / static_cast<double>(expected.size());
  }
  EXPECT_NEAR(run.stats.missed_mass, mean, 1e-5);
  EXPECT_GT(mean, 0.1);
  EXPECT_LT(mean, 0.9);
  EXPECT_GE(run.stats.largest_missed_mass, mean);
}

TEST_F(AuditTest, WholeAttentionMissesNothing) {
  const EngineRun run = Run({.audit = {.every = 3}});
  EXPECT_EQ(run.stats.audited_steps, 3);  // 1, 4, 7
  EXPECT_LT(run.stats.largest_missed_mass, 1e-5);
}

TEST_F(AuditTest, ReportingChangesNoAnswer) {
  const EngineRun plain = Run({.algorithm = "ESA"});
  const EngineRun audited = Run({.algorithm = "ESA", .audit = {.every = 1, .threshold = 1e-6}});
  EXPECT_EQ(plain.logits, audited.logits);
  EXPECT_EQ(plain.stats.audited_steps, 0);
  EXPECT_FALSE(audited.stats.widened);
  EXPECT_FALSE(audited.stats.fell_back_to_dense);
}

TEST_F(AuditTest, WidensUntilNothingIsMissed) {
  const auto missed = [](AuditAction action) {
    return Run({.algorithm = "Oracle",
                .options = {{"sparse_ratio", 0.05}},
                .audit = {.every = 1, .threshold = 1e-6, .action = action}})
        .stats;
  };
  const RequestStats widened = missed(AuditAction::kWiden);
  EXPECT_TRUE(widened.widened);
  EXPECT_LT(widened.missed_mass, 0.8 * missed(AuditAction::kReport).missed_mass);
}

TEST_F(AuditTest, WhatCannotWidenFallsBackToDense) {
  std::map<std::int64_t, std::size_t> attended;  // by step, of layer 0 and KV head 0
  std::int64_t sealed = 0;
  const EngineRun run =
      Run({.algorithm = "test_watched",
           .audit = {.every = 2, .threshold = 1e-6, .action = AuditAction::kWiden},
           .observer = [&](const SelectionEvent& event) {
             if (event.layer == 0 && event.kv_head == 0) {
               attended[event.step] = event.blocks.size();
             }
             sealed = event.sealed_blocks;
           }});
  EXPECT_FALSE(run.stats.widened);
  EXPECT_TRUE(run.stats.fell_back_to_dense);
  EXPECT_EQ(attended[1], 10u);
  for (std::int64_t step = 2; step <= kSteps; ++step) {
    EXPECT_EQ(static_cast<std::int64_t>(attended[step]), sealed) << step;
  }
}

TEST_F(AuditTest, AThresholdThatIsKeptChangesNothing) {
  const EngineRun run = Run(
      {.algorithm = "ESA", .audit = {.every = 1, .threshold = 1.0, .action = AuditAction::kDense}});
  EXPECT_FALSE(run.stats.fell_back_to_dense);
}

TEST_F(AuditTest, AnEstimateCountsAsOneMoreKey) {
  // KV in bf16 may round probabilities, whose unit is the largest score of what is attended.
  const EngineRun whole = Run({.algorithm = "test_whole", .kv_dtype = KvDtype::kF32});
  const EngineRun estimated = Run({.algorithm = "test_estimated", .kv_dtype = KvDtype::kF32});
  EXPECT_LT(LargestDifference(whole, estimated), 1e-3);
  const EngineRun dense = Run({.kv_dtype = KvDtype::kF32});
  EXPECT_EQ(LargestDifference(whole, dense), 0);
  EXPECT_TRUE(estimated.stats.sparse);
}

std::set<std::string> NamesIn(const std::string& text, const char* pattern) {
  const std::regex row(pattern);
  std::set<std::string> names;
  for (std::sregex_iterator i(text.begin(), text.end(), row), end; i != end; ++i) {
    names.insert((*i)[1]);
  }
  return names;
}

TEST(AuditMetrics, HaveTheNamesOfTheDocument) {
  const std::string text = PrometheusText(AuditTotals{.num_heads = 1, .missed = {1}});
  std::ifstream file(ESA_SOURCE_DIR "/docs/metrics.md");
  const std::string page{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(NamesIn(text, "# TYPE (\\S+) counter"),
            NamesIn(page, "\n\\| `(esa_audit_[a-z_]+)` \\|"));
}

TEST(AuditMetrics, HaveASeriesForEachHeadOfEachLayer) {
  const std::string text = PrometheusText(AuditTotals{.steps = 4,
                                                      .seconds = 0.5,
                                                      .widened = 2,
                                                      .fell_back_to_dense = 1,
                                                      .num_heads = 2,
                                                      .missed = {0.25, 0, 1, 2}});
  for (const char* line :
       {"esa_audit_steps_total 4\n", "esa_audit_seconds_total 0.5\n", "esa_audit_widened_total 2\n",
        "esa_audit_dense_total 1\n", "esa_audit_missed_mass_total{layer=\"0\",head=\"0\"} 0.25\n",
        "esa_audit_missed_mass_total{layer=\"1\",head=\"1\"} 2\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
  EXPECT_EQ(PrometheusText(AuditTotals()).find("missed_mass"), std::string::npos);
}

}  // namespace
}  // namespace esa
