// What requests cost, as named numbers: the one list behind every stats block, table and file.
//
// Threading: pure functions.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "esa/llm.h"

namespace esa {

struct CostField {
  std::string name;  // with its unit: prefill_seconds, loaded_bytes
  double value = 0;
};

// The fields of RequestStats by their names, then rates. Over several requests: means, but the
// largest peak_resident_bytes, and rates of the sums:
//   prefill_tokens_per_second     prompt tokens computed (not restored), until the first token
//   decode_tokens_per_second      tokens after the first
//   loaded_bytes_per_token, fetched_bytes_per_token
//   attended_bytes_per_token      after the first
//   retrieval_stall_ms_per_token, load_stall_ms_per_token
//   reuse                         part of the selected blocks that was resident already
std::vector<CostField> CostFields(std::span<const RequestStats> requests);

// One JSON object of the above.
std::string CostJson(std::span<const RequestStats> requests);

// The stats block for a person, several lines.
std::string CostText(std::span<const RequestStats> requests);

// "1.50 MiB".
std::string ShortBytes(double bytes);

}  // namespace esa
