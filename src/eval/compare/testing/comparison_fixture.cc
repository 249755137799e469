#include "eval/compare/testing/comparison_fixture.h"

#include <fmt/format.h>

#include <utility>

namespace esa {
namespace {

constexpr std::int64_t kPromptTokens = 1000;

class FakeModel final : public CompareModel {
 public:
  FakeModel(FakeEngine* fake, EngineConfig config) : fake_(fake), config_(std::move(config)) {}

  Result<Completion> Answer(const Prompt& prompt, const SamplingParams&,
                            const ProgressCallback&) override {
    const std::string number = prompt.prompt.substr(prompt.prompt.find("Question: q") + 11, 1);
    if (number == std::to_string(fake_->broken_at)) return IoError("the disk is gone");
    const bool audited = config_.audit.every > 0;
    fake_->answered.push_back(config_.sparse.name + " q" + number + (audited ? " audited" : ""));
    const bool dense =
        config_.sparse.name == "dense" || config_.sparse.name == fake_->lazy_algorithm;
    Completion completion;
    completion.text = dense || number == "0" ? "a" + number : "wrong";
    RequestStats& stats = completion.stats;
    stats.prompt_tokens = kPromptTokens;
    stats.generated_tokens = 4;
    stats.sparse = !dense;
    stats.attended_bytes = dense ? 6400 : 800;
    stats.fetched_bytes = dense ? 0 : 400;
    stats.audited_steps = audited ? 1 : 0;
    stats.missed_mass = audited ? 0.25 : 0;
    const std::vector<std::int32_t> blocks = {0, 61};
    if (observer_) {
      observer_({.request = 0,
                 .step = 1,
                 .layer = 0,
                 .kv_head = 0,
                 .blocks = blocks,
                 .sealed_blocks = 62});
    }
    return completion;
  }
  void Observe(SelectionObserver observer) override { observer_ = std::move(observer); }

 private:
  FakeEngine* fake_;
  EngineConfig config_;
  SelectionObserver observer_;
};

RequestStats Stats(std::uint64_t fetched, std::uint64_t attended) {
  RequestStats stats;
  stats.generated_tokens = 5;
  stats.fetched_bytes = fetched;
  stats.attended_bytes = attended;
  stats.audited_steps = 1;
  stats.missed_mass = 0.125;
  return stats;
}

}  // namespace

std::string NeedleLines(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) {
    lines += fmt::format(
        "{{\"input\": \"q{0}\", \"context\": \"c\", \"answers\": [\"a{0}\"], \"dataset\": "
        "\"needle\", \"depth\": 0.{0}, \"tokens\": 1000}}\n",
        i);
  }
  return lines;
}

CompareEngine FakeEngine::Engine() {
  CompareEngine engine;
  engine.facts.shape = {
      .block_tokens = 16, .num_layers = 1, .num_heads = 1, .num_kv_heads = 1, .head_dim = 8};
  engine.facts.max_position = 4096;
  engine.facts.block_bytes = 512;
  engine.codec.encode = [](std::string_view text) -> Result<std::vector<std::int32_t>> {
    return std::vector<std::int32_t>(text.begin(), text.end());
  };
  engine.codec.decode = [](const std::vector<std::int32_t>& ids) {
    return std::string(ids.begin(), ids.end());
  };
  engine.open = [this](const EngineConfig& config) -> Result<std::unique_ptr<CompareModel>> {
    ++opened;
    return std::unique_ptr<CompareModel>(std::make_unique<FakeModel>(this, config));
  };
  engine.describe = [](const EngineConfig& config) {
    return std::map<std::string, std::string>{
        {"sparse", config.sparse.name}, {"sparse_options", OptionsText(config.sparse.options)}};
  };
  return engine;
}

Comparison ExampleComparison() {
  Comparison comparison;
  comparison.settings = {{"model", "m&m"}};
  comparison.ratios = {0.1, 0.2};
  for (const char* name : {"one", "two"}) {
    CompareFile file;
    file.path = std::string("data/") + name + ".jsonl";
    file.name = name;
    file.dataset = *FindDataset("needle");
    file.records.resize(2);
    for (Record& record : file.records) record.tokens = 1024;
    file.records[0].depth = 0.0;
    file.records[1].depth = 1.0;
    comparison.files.push_back(std::move(file));
  }
  comparison.rows = {{"dense", "dense", {}, {}, RowKind::kDense},
                     {"a<b>", "ESA", {{"sparse_ratio", 0.1}}, 0.1, RowKind::kCandidate},
                     {"a<b>", "ESA", {{"sparse_ratio", 0.2}}, 0.2, RowKind::kCandidate},
                     {"streaming", "streaming", {}, {}, RowKind::kBaseline}};
  for (std::size_t row = 0; row < comparison.rows.size(); ++row) {
    for (std::size_t file = 0; file < 2; ++file) {
      const double second = row == 0 || (row == 2 && file == 1) ? 1 : 0;
      CompareCell cell;
      cell.scores = {1, second};
      cell.score = second == 1 ? 100 : 50;
      const bool streams = row == 3;
      cell.costs = {Stats(streams ? 0 : 1000 * row, 4000), Stats(streams ? 0 : 2000 * row, 8000)};
      cell.costs[1].audited_steps = 0;
      cell.costs[1].missed_mass = 0;
      comparison.cells.push_back(std::move(cell));
    }
  }
  comparison.selections.resize(comparison.rows.size());
  const std::vector<std::int32_t> blocks = {0, 3};
  for (std::int64_t step = 1; step <= 2; ++step) {
    comparison.selections[1].Add({.request = 0,
                                  .step = step,
                                  .layer = 0,
                                  .kv_head = 0,
                                  .blocks = blocks,
                                  .sealed_blocks = 5});
  }
  return comparison;
}

}  // namespace esa
