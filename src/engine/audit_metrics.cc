#include <fmt/format.h>

#include <iterator>

#include "esa/metrics.h"

namespace esa {
namespace {

void AddHeader(const char* name, const char* help, std::string* text) {
  fmt::format_to(std::back_inserter(*text), "# HELP {0} {1}\n# TYPE {0} counter\n", name, help);
}

template <class Number>
void AddCounter(const char* name, const char* help, Number value, std::string* text) {
  AddHeader(name, help, text);
  fmt::format_to(std::back_inserter(*text), "{} {}\n", name, value);
}

}  // namespace

std::string PrometheusText(const AuditTotals& totals) {
  std::string text;
  AddCounter("esa_audit_steps_total", "Decode steps whose missed attention was measured.",
             totals.steps, &text);
  AddCounter("esa_audit_seconds_total", "Time that measuring took.", totals.seconds, &text);
  AddCounter("esa_audit_widened_total", "Requests whose algorithm was made to spend more.",
             totals.widened, &text);
  AddCounter("esa_audit_dense_total", "Requests decoded densely from some step on.",
             totals.fell_back_to_dense, &text);
  if (totals.missed.empty()) return text;
  const char* name = "esa_audit_missed_mass_total";
  AddHeader(name, "Shares of softmax weight outside the selection, summed over measured steps.",
            &text);
  for (std::size_t i = 0; i < totals.missed.size(); ++i) {
    const auto heads = static_cast<std::size_t>(totals.num_heads);
    fmt::format_to(std::back_inserter(text), "{}{{layer=\"{}\",head=\"{}\"}} {}\n", name, i / heads,
                   i % heads, totals.missed[i]);
  }
  return text;
}

}  // namespace esa
