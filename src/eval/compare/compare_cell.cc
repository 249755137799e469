#include <algorithm>

#include "eval/compare.h"
#include "eval/cost.h"

namespace esa {
namespace {

std::vector<RequestStats> Audited(std::span<const RequestStats> costs) {
  std::vector<RequestStats> audited;
  for (const RequestStats& stats : costs) {
    if (stats.audited_steps > 0) audited.push_back(stats);
  }
  return audited;
}

}  // namespace

std::size_t CompareCell::audited() const { return Audited(costs).size(); }

std::optional<double> CompareCell::Cost(const std::string& name) const {
  const bool of_audits = name == "missed_mass" || name == "largest_missed_mass";
  const std::vector<RequestStats> of = of_audits ? Audited(costs) : costs;
  if (of.empty()) return std::nullopt;
  if (name == "largest_missed_mass") {
    double largest = 0;
    for (const RequestStats& stats : of) largest = std::max(largest, stats.largest_missed_mass);
    return largest;
  }
  for (const CostField& field : CostFields(of)) {
    if (field.name == name) return field.value;
  }
  return std::nullopt;
}

}  // namespace esa
