#include "retrieval/block_scores.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "ops/retrieval_kernels.h"

namespace esa {
namespace {

using Kind = ScoreRule::Kind;

// The queries of one KV head against the parts of a range of blocks.
struct HeadTask {
  int kv_head = 0;
  BlockRange range;
  const float* queries = nullptr;  // [num_queries, head_dim]
  int num_queries = 0;
};

// Scratch of one thread.
struct Work {
  std::vector<float> terms;   // vectors made from the queries, [num_queries, head_dim]
  std::vector<float> parts;   // [num_queries, blocks * parts]
  std::vector<float> second;  // likewise
  std::vector<float> query;   // gathered for a KV head
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
  return all.From(task.kv_head * rows.head_stride + std::int64_t{task.range.begin} * view.parts);
}

// One product of `rows` with change(query).
template <class Change>
void Product(const RepresentationView& view, const RepresentationRows& rows, const HeadTask& task,
             Change change, bool add, std::vector<float>* out) {
  Work& work = OfThread();
  const auto values = static_cast<std::size_t>(task.num_queries * view.head_dim);
  work.terms.resize(values);
  std::transform(task.queries, task.queries + values, work.terms.begin(), change);
  const std::int64_t count = task.range.size() * view.parts;
  out->resize(static_cast<std::size_t>(count * task.num_queries));
  DotRows(RowsOf(view, rows, task), count, work.terms.data(), task.num_queries, out->data(), count,
          add);
}

// Scores of parts into work.parts.
void ScoreParts(const RepresentationView& view, const ScoreRule& rule, const HeadTask& task) {
  Work& work = OfThread();
  const auto same = [](float q) { return q; };
  const auto square = [](float q) { return q * q; };
  if (rule.kind == Kind::kBounds) {
    Product(
        view, view.upper, task, [](float q) { return std::max(q, 0.0f); }, false, &work.parts);
    Product(
        view, view.lower, task, [](float q) { return std::min(q, 0.0f); }, true, &work.parts);
    return;
  }
  Product(view, view.mean, task, same, false, &work.parts);
  if (rule.kind == Kind::kDot) return;
  if (rule.kind == Kind::kLogMass && !view.variance) {
    work.second.assign(work.parts.size(), 0.0f);
  } else {
    Product(view, view.variance, task, square, false, &work.second);
  }
  const float factor = rule.factor;
  const float half_square = factor * factor / 2;
  const float log_tokens = std::log(static_cast<float>(view.part_tokens));
  for (std::size_t i = 0; i < work.parts.size(); ++i) {
    if (rule.kind == Kind::kDeviation) {
      work.parts[i] += factor * std::sqrt(std::max(work.second[i], 0.0f));
    } else {
      work.parts[i] = factor * work.parts[i] + half_square * work.second[i] + log_tokens;
    }
  }
}

float LogSum(std::span<const float> parts) {
  const float largest = *std::max_element(parts.begin(), parts.end());
  float sum = 0;
  for (const float part : parts) sum += std::exp(part - largest);
  return largest + std::log(sum);
}

// The block's score from its parts' scores.
float Reduce(Kind kind, std::span<const float> parts) {
  if (parts.size() == 1) return parts[0];
  return kind == Kind::kLogMass ? LogSum(parts) : *std::max_element(parts.begin(), parts.end());
}

void MatchCodes(const RepresentationView& view, const HeadTask& task, const ScoreRows& scores) {
  Work& work = OfThread();
  const int bits = view.code_words * 64;
  if (work.projections.size() != static_cast<std::size_t>(bits * view.head_dim)) {
    work.projections = CodeProjections(bits, view.head_dim);
  }
  work.codes.resize(static_cast<std::size_t>(task.num_queries * view.code_words));
  for (int r = 0; r < task.num_queries; ++r) {
    MakeCode(task.queries + r * view.head_dim, view.head_dim, work.projections,
             work.codes.data() + r * view.code_words);
  }
  const std::int64_t block_words = std::int64_t{view.block_tokens} * view.code_words;
  CodeMatches(view.codes + task.kv_head * view.code_head_stride + task.range.begin * block_words,
              task.range.size(), view.block_tokens, view.code_words, work.codes.data(),
              task.num_queries, scores.data, scores.stride);
}

void ScoreHead(const RepresentationView& view, const ScoreRule& rule, const HeadTask& task,
               bool add, const ScoreRows& scores) {
  Work& work = OfThread();
  const std::int64_t blocks = task.range.size();
  if (rule.kind == Kind::kCodes && !add) return MatchCodes(view, task, scores);
  if (rule.kind == Kind::kCodes) {
    work.parts.resize(static_cast<std::size_t>(task.num_queries * blocks));
    MatchCodes(view, task, {.data = work.parts.data(), .stride = blocks, .size = blocks});
  } else {
    ScoreParts(view, rule, task);
  }
  const int parts = rule.kind == Kind::kCodes ? 1 : view.parts;
  for (int r = 0; r < task.num_queries; ++r) {
    const std::span<float> row = scores.row(r);
    for (std::int64_t b = 0; b < blocks; ++b) {
      const float* first = work.parts.data() + (r * blocks + b) * parts;
      const float score = Reduce(rule.kind, {first, static_cast<std::size_t>(parts)});
      float& to = row[static_cast<std::size_t>(b)];
      to = add ? to + score : score;
    }
  }
}

// Every score row adds up the KV heads: their queries are gathered from [num_scores, num_kv_heads].
void ScoreLayer(const RepresentationView& view, const RetrievalRequest& request, BlockRange range,
                const ScoreRows& scores) {
  Work& work = OfThread();
  const auto dim = static_cast<std::size_t>(view.head_dim);
  for (int head = 0; head < view.num_kv_heads; ++head) {
    work.query.resize(static_cast<std::size_t>(request.num_scores) * dim);
    for (int r = 0; r < request.num_scores; ++r) {
      const auto from = static_cast<std::size_t>(r * view.num_kv_heads + head) * dim;
      std::copy_n(request.query.data() + from, dim,
                  work.query.data() + static_cast<std::size_t>(r) * dim);
    }
    const HeadTask task = {.kv_head = head,
                           .range = range,
                           .queries = work.query.data(),
                           .num_queries = request.num_scores};
    ScoreHead(view, request.rule, task, head > 0, scores);
  }
}

}  // namespace

void ScoreBlocks(const RepresentationView& view, const RetrievalRequest& request, BlockRange range,
                 const ScoreRows& scores) {
  if (range.size() == 0) return;
  if (request.score_of == ScoreOf::kLayer) return ScoreLayer(view, request, range, scores);
  const int group = request.num_scores / view.num_kv_heads;
  for (int head = 0; head < view.num_kv_heads; ++head) {
    const HeadTask task = {
        .kv_head = head,
        .range = range,
        .queries = request.query.data() + std::int64_t{head} * group * view.head_dim,
        .num_queries = group};
    const ScoreRows rows = {.data = scores.data + head * group * scores.stride,
                            .stride = scores.stride,
                            .size = scores.size};
    ScoreHead(view, request.rule, task, false, rows);
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
