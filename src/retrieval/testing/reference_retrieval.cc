#include "retrieval/testing/reference_retrieval.h"

#include <algorithm>
#include <numeric>

namespace esa {

void ReferenceRetrieval(const float* rows, std::int64_t count, std::span<const float> query,
                        std::int64_t k, std::vector<float>* scores,
                        std::vector<std::int32_t>* best) {
  scores->resize(static_cast<std::size_t>(count));
  for (float& score : *scores) {
    float sum = 0;
    for (const float q : query) sum += q * *rows++;
    score = sum;
  }
  best->resize(static_cast<std::size_t>(count));
  std::iota(best->begin(), best->end(), 0);
  const float* s = scores->data();
  std::partial_sort(best->begin(), best->begin() + k, best->end(),
                    [s](std::int32_t a, std::int32_t b) { return s[a] > s[b]; });
  best->resize(static_cast<std::size_t>(k));
}

}  // namespace esa
