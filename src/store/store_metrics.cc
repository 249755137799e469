#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <string_view>
#include <variant>

#include "esa/metrics.h"

namespace esa {
namespace {

using Field = std::variant<std::uint64_t StoreStats::*, double StoreStats::*>;

struct Metric {
  std::string_view name;
  std::string_view help;
  Field field;
};

// Names end in what they count and, of counters, in _total, as Prometheus wants it.
constexpr Metric kCounters[] = {
    {"esa_store_lookup_hits_total", "Blocks asked for and found.", &StoreStats::lookup_hits},
    {"esa_store_lookup_misses_total", "Blocks asked for and not found.",
     &StoreStats::lookup_misses},
    {"esa_store_dumped_blocks_total", "Blocks committed.", &StoreStats::dumped_blocks},
    {"esa_store_dumped_bytes_total", "Bytes of slices written.", &StoreStats::dumped_bytes},
    {"esa_store_dump_failures_total", "Parts that could not be written.",
     &StoreStats::dump_failures},
    {"esa_store_dump_seconds_total", "Time from a dump to the end of each of its parts, summed.",
     &StoreStats::dump_seconds},
    {"esa_store_loaded_slices_total", "Slices read.", &StoreStats::loaded_slices},
    {"esa_store_loaded_bytes_total", "Bytes of parts read.", &StoreStats::loaded_bytes},
    {"esa_store_load_failures_total", "Parts that could not be read.", &StoreStats::load_failures},
    {"esa_store_load_seconds_total", "Time from a load to the end of each of its parts, summed.",
     &StoreStats::load_seconds},
    {"esa_store_cancelled_parts_total", "Failed parts that were cancelled.",
     &StoreStats::cancelled_parts},
    {"esa_store_evicted_blocks_total", "Blocks removed to make room.", &StoreStats::evicted_blocks},
    {"esa_store_quarantined_blocks_total", "Corrupt blocks moved aside, never served.",
     &StoreStats::quarantined_blocks},
    {"esa_store_refused_blocks_total", "Blocks refused by admission.", &StoreStats::refused_blocks},
    {"esa_store_foreign_blocks_total", "Misses at blocks of another version, layout or key.",
     &StoreStats::foreign_blocks},
    {"esa_store_promoted_blocks_total", "Blocks brought to an upper tier.",
     &StoreStats::promoted_blocks},
    {"esa_store_removed_leftovers_total", "Temporary files of dead writers removed.",
     &StoreStats::removed_leftovers},
};

constexpr Metric kGauges[] = {
    {"esa_store_blocks", "Blocks committed now.", &StoreStats::blocks},
    {"esa_store_bytes", "Bytes of the blocks committed now.", &StoreStats::bytes},
    {"esa_store_capacity_bytes", "Bytes that may be stored; 0: not bounded.",
     &StoreStats::capacity_bytes},
    {"esa_store_io_threads", "Threads that read and write files.", &StoreStats::io_threads},
    {"esa_store_uring_threads",
     "Of these, which have io_uring; the others call preadv and pwritev.",
     &StoreStats::uring_threads},
    {"esa_store_direct_folders", "Folders read and written with O_DIRECT.",
     &StoreStats::direct_folders},
    {"esa_store_pending_tasks", "Tasks that have not ended.", &StoreStats::pending_tasks},
    {"esa_store_unwritten_bytes", "Bytes accepted and not yet in the lowest tier.",
     &StoreStats::unwritten_bytes},
};

template <class Number>
std::string NumberText(Number value) {
  char text[40];  // the shortest text of a double has 24 characters at most
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  return {text, end};
}

std::string ValueOf(const StoreStats& stats, const Field& field) {
  return std::visit([&](auto member) { return NumberText(stats.*member); }, field);
}

std::string LabelName(std::string_view name) {
  std::string valid;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    const bool digit = c >= '0' && c <= '9';
    if (valid.empty() && digit) valid.push_back('_');
    valid.push_back(letter || digit ? c : '_');
  }
  return valid.empty() ? "_" : valid;
}

std::string Escaped(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    if (c == '\\' || c == '"') escaped.push_back('\\');
    escaped += c == '\n' ? "\\n" : std::string(1, c);
  }
  return escaped;
}

MetricLabels OwnersLabels(const MetricLabels& labels) {
  MetricLabels valid;
  for (const auto& [name, value] : labels) {
    const std::string label = LabelName(name);
    const auto same = [&](const auto& other) { return other.first == label; };
    if (label == "backend" || label == "tier" || std::ranges::any_of(valid, same)) continue;
    valid.emplace_back(label, value);
  }
  return valid;
}

std::string Braced(const MetricLabels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    text.append(text.empty() ? "{" : ",").append(name);
    text.append("=\"").append(Escaped(value)).append("\"");
  }
  return text.empty() ? text : text + "}";
}

// One series of every metric.
struct Source {
  const StoreStats* stats = nullptr;
  std::string labels;  // as they stand behind a name
};

std::vector<Source> SourcesOf(const StoreStats& stats, const MetricLabels& labels) {
  MetricLabels shared;
  if (!stats.backend.empty()) shared.emplace_back("backend", stats.backend);
  for (const auto& label : OwnersLabels(labels)) shared.push_back(label);
  std::vector<Source> sources = {{&stats, Braced(shared)}};
  std::map<std::string, int> seen;
  for (const StoreStats& tier : stats.tiers) {
    MetricLabels own = shared;
    own.emplace_back("tier", tier.backend);
    // A stack may have a backend twice, and two series of the same labels are no valid text.
    const int count = ++seen[tier.backend];
    if (count > 1) own.back().second.append("#").append(std::to_string(count));
    sources.push_back({&tier, Braced(own)});
  }
  return sources;
}

std::string TextOf(const Metric& metric, std::string_view type,
                   const std::vector<Source>& sources) {
  const std::string name(metric.name);
  std::string text = "# HELP " + name + " " + std::string(metric.help) + "\n# TYPE " + name + " " +
                     std::string(type) + "\n";
  for (const Source& source : sources) {
    text += name + source.labels + " " + ValueOf(*source.stats, metric.field) + "\n";
  }
  return text;
}

}  // namespace

std::string PrometheusText(const StoreStats& stats, const MetricLabels& labels) {
  const std::vector<Source> sources = SourcesOf(stats, labels);
  std::string text;
  for (const Metric& metric : kCounters) text += TextOf(metric, "counter", sources);
  for (const Metric& metric : kGauges) text += TextOf(metric, "gauge", sources);
  return text;
}

}  // namespace esa
