#include "cli/demo_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "eval/cost.h"

namespace esa::cli {
namespace {

using Values = std::map<std::string, double>;

Values ValuesOf(const DemoPass& pass) {
  Values values;
  for (const CostField& field : CostFields(pass.result.costs)) values[field.name] = field.value;
  values["score"] = pass.result.score;
  values["kv_memory_bytes"] = static_cast<double>(pass.kv_memory_bytes);
  return values;
}

std::string Number(double value, int decimals) { return fmt::format("{:.{}f}", value, decimals); }

struct Row {
  const char* label;
  const char* field;
  std::string (*text)(double);
};

constexpr auto kWhole = [](double v) { return Number(v, 0); };
constexpr auto kTenths = [](double v) { return Number(v, 1); };
constexpr auto kHundredths = [](double v) { return Number(v, 2); };
constexpr auto kThousandths = [](double v) { return Number(v, 3); };
constexpr auto kPercent = [](double v) { return Number(100 * v, 1) + " %"; };
constexpr auto kBytes = [](double v) { return ShortBytes(v); };

const Row kRows[] = {
    {"score (exact answers, %)", "score", kHundredths},
    {"prompt tokens", "prompt_tokens", kWhole},
    {"  restored from the store", "restored_tokens", kWhole},
    {"time to first token, s", "prefill_seconds", kThousandths},
    {"prefill tokens/s (computed)", "prefill_tokens_per_second", kTenths},
    {"decode tokens/s", "decode_tokens_per_second", kTenths},
    {"KV budget in memory", "kv_memory_bytes", kBytes},
    {"peak resident KV", "peak_resident_bytes", kBytes},
    {"written to the store", "dumped_bytes", kBytes},
    {"loaded per token", "loaded_bytes_per_token", kBytes},
    {"reuse between selections", "reuse", kPercent},
    {"stall on retrieval, ms/token", "retrieval_stall_ms_per_token", kThousandths},
    {"stall on load, ms/token", "load_stall_ms_per_token", kThousandths},
    {"failed loads", "failed_loads", kTenths},
};

constexpr int kLabelWidth = 30;
constexpr int kColumnWidth = 16;

std::string Bars(const DemoReport& report, const char* title, const char* field,
                 std::string (*text)(double)) {
  constexpr int kWidth = 40;
  double most = 0;
  for (const DemoPass& pass : report.passes) most = std::max(most, ValuesOf(pass)[field]);
  std::string out = fmt::format("\n{}\n", title);
  for (const DemoPass& pass : report.passes) {
    const double value = ValuesOf(pass)[field];
    const int length = most > 0 ? static_cast<int>(value / most * kWidth + 0.5) : 0;
    out += fmt::format("  {:<16}{:<{}} {}\n", pass.name, std::string(length, '#'), kWidth,
                       text(value));
  }
  return out;
}

// Records answered alike by the passes `a` and `b`.
std::size_t EqualAnswers(const DemoPass& a, const DemoPass& b) {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < std::min(a.answers.size(), b.answers.size()); ++i) {
    equal += a.answers[i] == b.answers[i] ? 1 : 0;
  }
  return equal;
}

}  // namespace

std::string DemoTable(const DemoReport& report) {
  std::string out = fmt::format(
      "{} records of task {}, up to {} tokens, {}\n"
      "KV of one prompt: {}; weights: {}\n\n",
      report.records, report.task, report.tokens, report.model,
      ShortBytes(static_cast<double>(report.prompt_kv_bytes)),
      ShortBytes(static_cast<double>(report.weight_bytes)));
  std::vector<Values> values;
  out += fmt::format("{:<{}}", "", kLabelWidth);
  for (const DemoPass& pass : report.passes) {
    out += fmt::format("{:>{}}", pass.name, kColumnWidth);
    values.push_back(ValuesOf(pass));
  }
  out += "\n";
  for (const Row& row : kRows) {
    out += fmt::format("{:<{}}", row.label, kLabelWidth);
    for (Values& column : values) {
      out += fmt::format("{:>{}}", row.text(column[row.field]), kColumnWidth);
    }
    out += "\n";
  }
  out += Bars(report, "peak resident KV", "peak_resident_bytes", kBytes);
  out += Bars(report, "time to first token, s", "prefill_seconds", kThousandths);
  if (report.passes.size() > 1) {
    const std::size_t last = report.passes.size() - 1;
    out +=
        fmt::format("\nafter the restart {} of {} answers are the same as before it; {} in all\n",
                    EqualAnswers(report.passes[last - 1], report.passes[last]), report.records,
                    Number(report.seconds, 1) + " s");
  }
  return out;
}

std::string DemoJson(const DemoReport& report) {
  using OrderedJson = nlohmann::ordered_json;
  OrderedJson passes = OrderedJson::object();
  for (const DemoPass& pass : report.passes) {
    passes[pass.key] = {{"sparse", pass.sparse},
                        {"score", pass.result.score},
                        {"kv_memory_bytes", pass.kv_memory_bytes},
                        {"cost", OrderedJson::parse(CostJson(pass.result.costs))}};
  }
  OrderedJson all = {{"model", report.model},
                     {"task", report.task},
                     {"records", report.records},
                     {"tokens", report.tokens},
                     {"prompt_kv_bytes", report.prompt_kv_bytes},
                     {"weight_bytes", report.weight_bytes},
                     {"seconds", report.seconds},
                     {"passes", std::move(passes)}};
  if (report.passes.size() > 1) {
    const std::size_t last = report.passes.size() - 1;
    all["equal_answers_after_restart"] = EqualAnswers(report.passes[last - 1], report.passes[last]);
    all["ttft_cold_seconds"] = ValuesOf(report.passes[last - 1])["prefill_seconds"];
    all["ttft_restored_seconds"] = ValuesOf(report.passes[last])["prefill_seconds"];
  }
  return all.dump(1) + "\n";
}

}  // namespace esa::cli
