// The arithmetic of retrieval: score rows against queries, keep the best.
// Threading: single-threaded, no state; called from retrieval workers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "esa/sparse_attention.h"

namespace esa {

// Rows of `dim` values one after the other. kInt8: value i of row r is scales[r] * data[r][i].
struct ScoredRows {
  const void* data = nullptr;
  const float* scales = nullptr;
  RepresentationType type = RepresentationType::kF32;
  std::int64_t dim = 0;

  // From row `first` on.
  ScoredRows From(std::int64_t first) const;
};

// scores[r * stride + i] = dot(rows[i], queries[r]), or that much more where `add` is set, for i in
// [0, count) and r in [0, num_queries). queries [num_queries, dim]. Rows are read once for all
// queries. Against kInt8 rows a query is rounded to 16-bit integers.
void DotRows(const ScoredRows& rows, std::int64_t count, const float* queries, int num_queries,
             float* scores, std::int64_t stride, bool add);

// The first row as f32, [dim].
void ReadScoredRow(const ScoredRows& rows, float* out);

// Writes one row of `dim` values in the given type; kInt8 sets *scale.
void StoreRow(const float* values, std::int64_t dim, RepresentationType type, void* row,
              float* scale);

// sums[i] = log of the sum over j of exp(terms[j][i]); terms [n, sums.size()].
void LogSumExp(std::span<const float> terms, std::span<float> sums);

// sums[i] += the share of exp(scale * scores[i]) in their sum. Scores are overwritten; sums.size()
// of them.
void AddSoftMax(std::span<float> scores, float scale, std::span<float> sums);

// scores += factor * sqrt(max(values, 0)), value by value.
void AddSquareRoots(std::span<const float> values, float factor, std::span<float> scores);

// Random projections for codes: [code_bits, head_dim] of Gaussian values, the same everywhere.
std::vector<float> CodeProjections(int code_bits, int head_dim);

// Bit b is set where `key` has a positive product with projection b. code [code_bits / 64].
void MakeCode(const float* key, int head_dim, std::span<const float> projections,
              std::uint64_t* code);

// The codes of `count` keys, [count, code_bits / 64].
void MakeCodes(const float* keys, std::int64_t count, int head_dim,
               std::span<const float> projections, std::uint64_t* codes);

// matches[r * stride + i] = the largest number of bits in which a code of group i equals query code
// r; a group is `group` codes of `words` words, one after the other.
void CodeMatches(const std::uint64_t* codes, std::int64_t count, int group, int words,
                 const std::uint64_t* queries, int num_queries, float* matches,
                 std::int64_t stride);

// Keeps its memory between calls.
struct TopKScratch {
  std::vector<std::uint32_t> order;
  std::vector<std::uint32_t> tied;
  std::vector<std::uint32_t> counts;
};

// Indices of the k largest scores, sorted by index; equal scores: the lower index wins; NaN never
// wins over a number.
void TopK(std::span<const float> scores, std::int64_t k, TopKScratch* scratch,
          std::vector<std::int32_t>* best);

}  // namespace esa
