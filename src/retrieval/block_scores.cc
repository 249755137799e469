#include "retrieval/block_scores.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "ops/retrieval_kernels.h"

namespace esa {
namespace {

using Kind = ScoreRule::Kind;

// Rows of one KV head that are scored at a time: their scores (32 KiB a query) stay in the cache
// until they are made into those of blocks. Every tile starts anew in memory, which shows with rows
// of 128 bytes: 29 to 32 GB/s in tiles of 1,024 rows, 34 of 4,096, 37 of 8,192, no more beyond.
constexpr std::int64_t kTileRows = 8192;

// The queries of one KV head against the parts of a tile of blocks.
struct HeadTask {
  int kv_head = 0;
  BlockRange tile;
  const float* queries = nullptr;  // [num_queries, head_dim]
  int num_queries = 0;
};

// Scratch of one thread.
struct Work {
  std::vector<float> terms;     // vectors made from the queries, [num_queries, head_dim]
  std::vector<float> parts;     // [num_queries, blocks * parts]
  std::vector<float> variance;  // likewise
  std::vector<float> columns;   // [parts, blocks]
  std::vector<float> query;     // gathered for a KV head
  std::vector<float> projections;
  std::vector<std::uint64_t> codes;
};

Work& OfThread() {
  thread_local Work work;
  return work;
}

ScoredRows RowsOf(const RepresentationView& view, const RepresentationRows& rows,
                  const HeadTask& task) {
  ESA_CHECK(rows);  // the algorithm's RepresentationSpec has to ask for it
  const ScoredRows all = {
      .data = rows.data, .scales = rows.scales, .type = rows.type, .dim = view.head_dim};
  return all.From(task.kv_head * rows.head_stride + std::int64_t{task.tile.begin} * view.parts);
}

// Products of `rows` with change(query), to one score for each part.
template <class Change>
void Multiply(const RepresentationView& view, const RepresentationRows& rows, const HeadTask& task,
              Change change, bool add, const ScoreRows& scores) {
  std::vector<float>& terms = OfThread().terms;
  const auto values = static_cast<std::size_t>(task.num_queries * view.head_dim);
  terms.resize(values);
  std::transform(task.queries, task.queries + values, terms.begin(), change);
  DotRows(RowsOf(view, rows, task), task.tile.size() * view.parts, terms.data(), task.num_queries,
          scores.data, scores.stride, add);
}

void AddDeviation(const RepresentationView& view, float factor, const HeadTask& task,
                  const ScoreRows& scores) {
  std::vector<float>& variance = OfThread().variance;
  variance.resize(static_cast<std::size_t>(scores.size * task.num_queries));
  const ScoreRows rows = {.data = variance.data(), .stride = scores.size, .size = scores.size};
  Multiply(
      view, view.variance, task, [](float q) { return q * q; }, false, rows);
  for (int r = 0; r < task.num_queries; ++r) {
    AddSquareRoots(rows.row(r), factor, scores.row(r));
  }
}

// What the spread of a part's keys adds to the log of its mass; see kLogMass.
void AddSpread(const RepresentationView& view, float factor, const HeadTask& task,
               const ScoreRows& scores) {
  std::vector<float>& variance = OfThread().variance;
  variance.resize(static_cast<std::size_t>(scores.size * task.num_queries));
  const ScoreRows rows = {.data = variance.data(), .stride = scores.size, .size = scores.size};
  Multiply(
      view, view.variance, task, [=](float q) { return factor * factor * q * q; }, false, rows);
  const float log_tokens = std::log(static_cast<float>(view.part_tokens));
  for (int r = 0; r < task.num_queries; ++r) {
    const std::span<const float> from = rows.row(r);
    const std::span<float> to = scores.row(r);
    for (std::size_t i = 0; i < to.size(); ++i) {
      const float v = from[i];
      to[i] += v <= 2 * log_tokens ? v / 2 : std::sqrt(2 * v * log_tokens) - log_tokens;
    }
  }
}

// Scores of parts. kLogMass leaves out the log of the number of tokens.
void ScoreParts(const RepresentationView& view, const ScoreRule& rule, const HeadTask& task,
                bool add, const ScoreRows& scores) {
  const float factor = rule.factor;
  switch (rule.kind) {
    case Kind::kBounds:
      Multiply(
          view, view.upper, task, [](float q) { return std::max(q, 0.0f); }, add, scores);
      return Multiply(
          view, view.lower, task, [](float q) { return std::min(q, 0.0f); }, true, scores);
    case Kind::kLogMass:
      Multiply(
          view, view.mean, task, [=](float q) { return factor * q; }, add, scores);
      if (view.variance) AddSpread(view, factor, task, scores);
      return;
    case Kind::kDot:
    case Kind::kDeviation:
    case Kind::kCodes:
      break;
  }
  Multiply(
      view, view.mean, task, [](float q) { return q; }, add, scores);
  if (rule.kind == Kind::kDeviation) AddDeviation(view, factor, task, scores);
}

void Put(std::span<const float> from, bool add, std::span<float> to) {
  if (!add) {
    std::copy(from.begin(), from.end(), to.begin());
    return;
  }
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
}

// Scores of blocks from those of their parts, [blocks, parts].
void PutLargest(std::span<const float> parts, bool add, std::span<float> scores) {
  const std::size_t of_block = parts.size() / scores.size();
  for (std::size_t b = 0; b < scores.size(); ++b) {
    const float* first = parts.data() + b * of_block;
    float largest = first[0];
    for (std::size_t p = 1; p < of_block; ++p) largest = std::max(largest, first[p]);
    scores[b] = add ? scores[b] + largest : largest;
  }
}

// The same for the log of their sum. Overwrites the parts.
void PutLogSum(std::span<float> parts, bool add, std::span<float> scores) {
  const std::size_t blocks = scores.size();
  const std::size_t of_block = parts.size() / blocks;
  std::vector<float>& columns = OfThread().columns;
  columns.resize(parts.size());
  for (std::size_t b = 0; b < blocks; ++b) {
    for (std::size_t p = 0; p < of_block; ++p) columns[p * blocks + b] = parts[b * of_block + p];
  }
  const std::span<float> sums = parts.first(blocks);
  LogSumExp(columns, sums);
  Put(sums, add, scores);
}

void MatchCodes(const RepresentationView& view, const HeadTask& task, const ScoreRows& scores) {
  Work& work = OfThread();
  const int bits = view.code_words * 64;
  if (work.projections.size() != static_cast<std::size_t>(bits * view.head_dim)) {
    work.projections = CodeProjections(bits, view.head_dim);
  }
  work.codes.resize(static_cast<std::size_t>(task.num_queries * view.code_words));
  MakeCodes(task.queries, task.num_queries, view.head_dim, work.projections, work.codes.data());
  const std::int64_t block_words = std::int64_t{view.block_tokens} * view.code_words;
  CodeMatches(view.codes + task.kv_head * view.code_head_stride + task.tile.begin * block_words,
              task.tile.size(), view.block_tokens, view.code_words, work.codes.data(),
              task.num_queries, scores.data, scores.stride);
}

ScoreRows PartRows(const HeadTask& task, int parts) {
  std::vector<float>& values = OfThread().parts;
  const std::int64_t size = task.tile.size() * parts;
  values.resize(static_cast<std::size_t>(task.num_queries * size));
  return {.data = values.data(), .stride = size, .size = size};
}

void ScoreByCodes(const RepresentationView& view, const HeadTask& task, bool add,
                  const ScoreRows& scores) {
  if (!add) return MatchCodes(view, task, scores);
  const ScoreRows matches = PartRows(task, 1);
  MatchCodes(view, task, matches);
  for (int r = 0; r < task.num_queries; ++r) Put(matches.row(r), true, scores.row(r));
}

void ScoreHead(const RepresentationView& view, const ScoreRule& rule, const HeadTask& task,
               bool add, const ScoreRows& scores) {
  if (rule.kind == Kind::kCodes) return ScoreByCodes(view, task, add, scores);
  const bool whole = view.parts == 1;
  const ScoreRows parts = whole ? scores : PartRows(task, view.parts);
  ScoreParts(view, rule, task, whole && add, parts);
  const float log_tokens = std::log(static_cast<float>(view.part_tokens));
  for (int r = 0; r < task.num_queries; ++r) {
    if (rule.kind == Kind::kLogMass) {
      for (float& score : parts.row(r)) score += log_tokens;
      if (!whole) PutLogSum(parts.row(r), add, scores.row(r));
    } else if (!whole) {
      PutLargest(parts.row(r), add, scores.row(r));
    }
  }
}

// Every score row adds up the KV heads: their queries are gathered from [num_scores, num_kv_heads].
void ScoreLayer(const RepresentationView& view, const RetrievalRequest& request, BlockRange tile,
                const ScoreRows& scores) {
  Work& work = OfThread();
  const auto dim = static_cast<std::size_t>(view.head_dim);
  work.query.resize(static_cast<std::size_t>(request.num_scores) * dim);
  for (int head = 0; head < view.num_kv_heads; ++head) {
    for (int r = 0; r < request.num_scores; ++r) {
      const auto from = static_cast<std::size_t>(r * view.num_kv_heads + head) * dim;
      std::copy_n(request.query.data() + from, dim,
                  work.query.data() + static_cast<std::size_t>(r) * dim);
    }
    const HeadTask task = {.kv_head = head,
                           .tile = tile,
                           .queries = work.query.data(),
                           .num_queries = request.num_scores};
    ScoreHead(view, request.rule, task, head > 0, scores);
  }
}

void ScoreHeads(const RepresentationView& view, const RetrievalRequest& request, BlockRange tile,
                const ScoreRows& scores) {
  const int group = request.num_scores / view.num_kv_heads;
  for (int head = 0; head < view.num_kv_heads; ++head) {
    const HeadTask task = {
        .kv_head = head,
        .tile = tile,
        .queries = request.query.data() + std::int64_t{head} * group * view.head_dim,
        .num_queries = group};
    const ScoreRows rows = {.data = scores.data + head * group * scores.stride,
                            .stride = scores.stride,
                            .size = scores.size};
    ScoreHead(view, request.rule, task, false, rows);
  }
}

}  // namespace

void ScoreBlocks(const RepresentationView& view, const RetrievalRequest& request, BlockRange range,
                 const ScoreRows& scores) {
  const std::int64_t step = std::max<std::int64_t>(kTileRows / view.parts, 1);
  for (std::int64_t begin = range.begin; begin < range.end; begin += step) {
    const BlockRange tile = {
        static_cast<BlockIndex>(begin),
        static_cast<BlockIndex>(std::min<std::int64_t>(begin + step, range.end))};
    const ScoreRows rows = {
        .data = scores.data + (begin - range.begin), .stride = scores.stride, .size = tile.size()};
    if (request.score_of == ScoreOf::kLayer) {
      ScoreLayer(view, request, tile, rows);
    } else {
      ScoreHeads(view, request, tile, rows);
    }
  }
}

void ReadRow(const RepresentationView& view, const RepresentationRows& rows, BlockIndex block,
             int part, int kv_head, std::span<float> out) {
  const std::int64_t row = kv_head * rows.head_stride + std::int64_t{block} * view.parts + part;
  const ScoredRows one =
      ScoredRows{.data = rows.data, .scales = rows.scales, .type = rows.type, .dim = view.head_dim}
          .From(row);
  ReadScoredRow(one, out.data());
}

}  // namespace esa
