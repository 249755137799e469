#include "eval/cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json_text.h"
#include "eval/report/cost_json.h"

namespace esa {
namespace {

template <class T>
struct Field {
  const char* name;
  T RequestStats::*member;
};

constexpr Field<std::int64_t> kCounts[] = {
    {"prompt_tokens", &RequestStats::prompt_tokens},
    {"restored_tokens", &RequestStats::restored_tokens},
    {"generated_tokens", &RequestStats::generated_tokens},
    {"selected_blocks", &RequestStats::selected_blocks},
    {"reused_blocks", &RequestStats::reused_blocks},
    {"selections", &RequestStats::selections},
    {"failed_loads", &RequestStats::failed_loads},
    {"failed_dumps", &RequestStats::failed_dumps},
    {"audited_steps", &RequestStats::audited_steps},
};
constexpr Field<std::uint64_t> kBytes[] = {
    {"restored_bytes", &RequestStats::restored_bytes},
    {"loaded_bytes", &RequestStats::loaded_bytes},
    {"fetched_bytes", &RequestStats::fetched_bytes},
    {"attended_bytes", &RequestStats::attended_bytes},
    {"dumped_bytes", &RequestStats::dumped_bytes},
};
constexpr Field<double> kReals[] = {
    {"prefill_seconds", &RequestStats::prefill_seconds},
    {"prefill_share", &RequestStats::prefill_share},
    {"restore_seconds", &RequestStats::restore_seconds},
    {"decode_seconds", &RequestStats::decode_seconds},
    {"retrieval_stall_seconds", &RequestStats::retrieval_stall_seconds},
    {"load_stall_seconds", &RequestStats::load_stall_seconds},
    {"load_copy_seconds", &RequestStats::load_copy_seconds},
    {"audit_seconds", &RequestStats::audit_seconds},
    {"missed_mass", &RequestStats::missed_mass},
    {"largest_missed_mass", &RequestStats::largest_missed_mass},
};
constexpr Field<bool> kFlags[] = {
    {"sparse", &RequestStats::sparse},
    {"degraded", &RequestStats::degraded},
    {"widened", &RequestStats::widened},
    {"fell_back_to_dense", &RequestStats::fell_back_to_dense},
};
constexpr const char* kPeak = "peak_resident_bytes";

template <class T>
double Sum(std::span<const RequestStats> requests, T RequestStats::*member) {
  double sum = 0;
  for (const RequestStats& stats : requests) sum += static_cast<double>(stats.*member);
  return sum;
}

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0.0; }

void AddRates(std::span<const RequestStats> requests, std::vector<CostField>* fields) {
  const auto sum = [&](auto member) { return Sum(requests, member); };
  const double generated = sum(&RequestStats::generated_tokens);
  double after_first = 0;
  for (const RequestStats& stats : requests) {
    after_first += static_cast<double>(std::max<std::int64_t>(0, stats.generated_tokens - 1));
  }
  const double computed = sum(&RequestStats::prompt_tokens) - sum(&RequestStats::restored_tokens);
  const double per_token_ms = Ratio(1e3, generated);
  fields->push_back(
      {"prefill_tokens_per_second", Ratio(computed, sum(&RequestStats::prefill_seconds))});
  fields->push_back(
      {"decode_tokens_per_second",
       Ratio(after_first, sum(&RequestStats::decode_seconds) - sum(&RequestStats::audit_seconds))});
  fields->push_back({"loaded_bytes_per_token", Ratio(sum(&RequestStats::loaded_bytes), generated)});
  fields->push_back(
      {"fetched_bytes_per_token", Ratio(sum(&RequestStats::fetched_bytes), generated)});
  fields->push_back(
      {"attended_bytes_per_token", Ratio(sum(&RequestStats::attended_bytes), after_first)});
  fields->push_back(
      {"reuse", Ratio(sum(&RequestStats::reused_blocks), sum(&RequestStats::selected_blocks))});
  fields->push_back(
      {"retrieval_stall_ms_per_token", sum(&RequestStats::retrieval_stall_seconds) * per_token_ms});
  fields->push_back(
      {"load_stall_ms_per_token", sum(&RequestStats::load_stall_seconds) * per_token_ms});
}

double Value(const std::vector<CostField>& fields, const std::string& name) {
  const auto found = std::find_if(fields.begin(), fields.end(),
                                  [&](const CostField& field) { return field.name == name; });
  return found == fields.end() ? 0.0 : found->value;
}

}  // namespace

std::vector<CostField> CostFields(std::span<const RequestStats> requests) {
  std::vector<CostField> fields;
  const double number = static_cast<double>(requests.size());
  const auto add_means = [&](const auto& table) {
    for (const auto& field : table) {
      fields.push_back({field.name, Ratio(Sum(requests, field.member), number)});
    }
  };
  add_means(kCounts);
  add_means(kBytes);
  std::uint64_t peak = 0;
  for (const RequestStats& stats : requests) peak = std::max(peak, stats.peak_resident_bytes);
  fields.push_back({kPeak, static_cast<double>(peak)});
  add_means(kReals);
  add_means(kFlags);
  AddRates(requests, &fields);
  return fields;
}

nlohmann::ordered_json CostToJson(std::span<const RequestStats> requests) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const CostField& field : CostFields(requests)) {
    const bool whole = field.value == std::floor(field.value) && std::abs(field.value) < 0x1p53;
    if (whole) {
      object[field.name] = static_cast<std::int64_t>(field.value);
    } else {
      object[field.name] = field.value;
    }
  }
  return object;
}

Result<RequestStats> StatsFromJson(const nlohmann::ordered_json& object) {
  RequestStats stats;
  try {
    for (const auto& field : kCounts) stats.*field.member = object.at(field.name);
    for (const auto& field : kBytes) stats.*field.member = object.at(field.name);
    for (const auto& field : kReals) stats.*field.member = object.at(field.name);
    for (const auto& field : kFlags) stats.*field.member = object.at(field.name).get<int>() != 0;
    stats.peak_resident_bytes = object.at(kPeak);
  } catch (const nlohmann::json::exception& e) {
    return DataError(JsonErrorText(e.what()));
  }
  return stats;
}

std::string CostJson(std::span<const RequestStats> requests) { return CostToJson(requests).dump(); }

std::string ShortBytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.2f} {}", bytes, kUnits[unit]);
}

std::string CostText(std::span<const RequestStats> requests) {
  const std::vector<CostField> fields = CostFields(requests);
  const auto value = [&](const char* name) { return Value(fields, name); };
  const auto bytes = [&](const char* name) { return ShortBytes(Value(fields, name)); };
  std::string text;
  const auto line = [&](const char* label, const std::string& what) {
    text += fmt::format("  {:<18}{}\n", label, what);
  };
  line("prompt",
       fmt::format("{:.0f} tokens, {:.0f} restored from the store ({})", value("prompt_tokens"),
                   value("restored_tokens"), bytes("restored_bytes")));
  const double share = value("prefill_share");
  line("first token",
       fmt::format("{:.3f} s, {:.1f} tokens/s computed{}", value("prefill_seconds"),
                   value("prefill_tokens_per_second"),
                   share < 1 ? fmt::format(", {:.1f}% of the blocks attended", 100 * share) : ""));
  line("decode", fmt::format("{:.0f} tokens, {:.1f} tokens/s", value("generated_tokens"),
                             value("decode_tokens_per_second")));
  line("peak resident KV", bytes(kPeak));
  line("dumped", bytes("dumped_bytes"));
  line("loaded",
       fmt::format("{}, {} a token, {:.1f}% of selected blocks were resident",
                   bytes("loaded_bytes"), bytes("loaded_bytes_per_token"), 100 * value("reuse")));
  line("stalls",
       fmt::format("{:.3f} ms a token on retrieval, {:.3f} on load",
                   value("retrieval_stall_ms_per_token"), value("load_stall_ms_per_token")));
  if (value("audited_steps") > 0) {
    line("missed mass", fmt::format("{:.3f}% of the softmax weight, {:.1f}% at most{}",
                                    100 * value("missed_mass"), 100 * value("largest_missed_mass"),
                                    value("fell_back_to_dense") > 0 ? "; fell back to dense"
                                    : value("widened") > 0          ? "; widened"
                                                                    : ""));
  }
  const double failed = value("failed_loads") + value("failed_dumps");
  if (failed > 0) {
    line("failures",
         fmt::format(
             "{:.1f} loads, {:.1f} dumps; {}", value("failed_loads"), value("failed_dumps"),
             value("degraded") > 0 ? "the answer is degraded" : "the answer is not affected"));
  }
  return text;
}

}  // namespace esa
