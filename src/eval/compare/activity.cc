#include "eval/compare/activity.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"

namespace esa {
namespace {

// One decode step at least: a first token that ends the answer shows nothing.
bool WasDecoded(const RequestStats& stats) { return stats.generated_tokens >= 2; }

SequenceShape ShapeOf(const RequestStats& stats, SequenceShape shape) {
  shape.prompt_tokens = stats.prompt_tokens;
  shape.context_tokens = stats.prompt_tokens + stats.generated_tokens;
  shape.sealed_blocks = shape.context_tokens / shape.block_tokens;
  return shape;
}

Error NotSparse(const CompareRow& row, const CompareFile& file, const std::string& why) {
  return DataError(fmt::format("row \"{}\" on {}: {}", row.name(), file.name, why));
}

// Equal answers and equal bytes in every record that was decoded, of which there is one at least.
bool AttendedAsDense(const CompareCell& cell, const CompareCell& dense) {
  bool decoded = false;
  for (std::size_t i = 0; i < cell.costs.size(); ++i) {
    const RequestStats& mine = cell.costs[i];
    const RequestStats& all = dense.costs[i];
    if (mine.attended_bytes != all.attended_bytes) return false;
    decoded |= WasDecoded(mine);
  }
  return decoded;
}

}  // namespace

Status CheckSparse(const CompareRow& row, const CompareFile& file, const CompareCell& cell,
                   const CompareCell& dense, const SequenceShape& model) {
  if (row.kind == RowKind::kDense) return {};
  ESA_ASSIGN_OR_RETURN(const auto algorithm, CreateSparseAttention(row.algorithm, row.options));
  std::int64_t longest = 0;
  bool may_be_dense = true;
  for (std::size_t i = 0; i < cell.costs.size(); ++i) {
    const RequestStats& stats = cell.costs[i];
    const SequenceShape shape = ShapeOf(stats, model);
    const std::int64_t budget = algorithm->ResidentBlocks(shape);
    longest = std::max(longest, shape.num_blocks());
    if (budget >= shape.num_blocks() || !WasDecoded(stats)) continue;
    may_be_dense = false;
    if (stats.sparse) continue;
    return NotSparse(row, file,
                     fmt::format("the sparse path was not active: record {} was attended to whole, "
                                 "{} blocks, though the budget is {}",
                                 i + 1, shape.num_blocks(), budget));
  }
  if (!AttendedAsDense(cell, dense)) return {};
  return NotSparse(
      row, file,
      may_be_dense
          ? fmt::format("the sparse path was not active: its budget covers every record, of {} "
                        "blocks at most. Take longer records, a smaller ratio or a smaller "
                        "--block-tokens, or leave the algorithm out",
                        longest)
          : "the sparse path was not active: as many bytes were attended to as in the dense row");
}

}  // namespace esa
