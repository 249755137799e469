// The arithmetic of retrieval: score blocks against a query, keep the best.
// Threading: single-threaded, no state; called from retrieval workers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace esa {

// scores[i] = dot(rows + i * dim, query), i in [0, scores.size()); query [dim].
void DotRows(const float* rows, std::int64_t dim, const float* query, std::span<float> scores);

// Indices of the k largest scores, sorted by index; equal scores: the lower index wins; NaN never
// wins over a number.
std::vector<std::int32_t> TopK(std::span<const float> scores, std::int64_t k);

}  // namespace esa
