// Counters as text for Prometheus: its exposition format, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats).
//
// Threading: pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "esa/block_store.h"
#include "esa/llm.h"

namespace esa {

// Name and value of what sets one series apart from others of its metric.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// Every figure of `stats` under the names of docs/metrics.md, with HELP and TYPE lines, counters
// first. Each series has a label `backend` and those of `labels`; the tiers of a stack follow under
// the same names with a label `tier`, which what the stack's user sees has not.
//
// In names of labels, characters that the format has no place for become _. A label named backend
// or tier is left out: these are set here.
std::string PrometheusText(const StoreStats& stats, const MetricLabels& labels = {});

// The same of audits; no labels but the layer and the query head of a missed mass.
std::string PrometheusText(const AuditTotals& totals);

}  // namespace esa
