// Retrieval as a plain loop: scalar products and a partial sort of all scores.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace esa {

// Indices of the k rows with the largest product, by falling product. rows [count, query.size()].
void ReferenceRetrieval(const float* rows, std::int64_t count, std::span<const float> query,
                        std::int64_t k, std::vector<float>* scores,
                        std::vector<std::int32_t>* best);

}  // namespace esa
