// RequestStats as JSON, there and back. Private to eval.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "esa/llm.h"
#include "esa/result.h"

namespace esa {

nlohmann::ordered_json CostToJson(std::span<const RequestStats> requests);

// From the object of a single request. kDataError: a field is missing or of the wrong type.
Result<RequestStats> StatsFromJson(const nlohmann::ordered_json& object);

}  // namespace esa
