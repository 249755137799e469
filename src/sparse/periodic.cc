#include "sparse/periodic.h"

#include <algorithm>
#include <utility>

namespace esa {

PeriodicOptions ReadPeriodicOptions(OptionReader& reader) {
  PeriodicOptions read;
  read.windows = ReadWindows(reader);
  read.min_blocks = reader.Int("min_blocks", read.min_blocks, 1, kMostWindowBlocks);
  read.sparse_ratio = reader.Real("sparse_ratio", read.sparse_ratio, 0.0, 1.0);
  read.retrieval_stride = reader.Int("retrieval_stride", read.retrieval_stride, 3, kMostStride);
  read.per_kv_head = reader.Bool("per_kv_head", read.per_kv_head);
  return read;
}

void ReadRepresentationOptions(OptionReader& reader, PeriodicOptions* options) {
  options->part_tokens = reader.Int("part_tokens", options->part_tokens, 0, 4096);
  options->type = ReadRepresentationType(reader, options->type);
}

RepresentationSpec PeriodicAttention::BaseSpec() const {
  return {.part_tokens = static_cast<int>(options_.part_tokens), .type = options_.type};
}

std::int64_t PeriodicAttention::ResidentBlocks(const SequenceShape& shape) const {
  if (!IsSparse(shape)) return shape.num_blocks();
  return ResidentBetween(options_.windows, options_.sparse_ratio, options_.retrieval_stride, shape);
}

void PeriodicAttention::AttentionBegin(AttentionStep& step) {
  Layer& layer = LayerOf(layers_, step);
  if (step.step() % options_.retrieval_stride == 1) layer.selection.Adopt(step);
  layer.selection.Attend(step);
}

void PeriodicAttention::AttentionEnd(AttentionStep& step) {
  if (!IsSparse(step.shape())) return;
  Observe(step);
  Layer& layer = LayerOf(layers_, step);
  const std::int64_t phase = step.step() % options_.retrieval_stride;
  if (step.step() == 0 || phase == 2) StartRetrieval(step, layer);
  if (phase == 0) StartLoad(step, layer);
}

void PeriodicAttention::StartRetrieval(AttentionStep& step, Layer& layer) {
  layer.candidates = BlocksBetween(options_.windows, step.shape());
  RetrievalRequest request = {.candidates = layer.candidates,
                              .k = Share(layer.candidates.size(), options_.sparse_ratio)};
  if (request.k == 0) return;
  if (options_.per_kv_head) request.num_lists = step.shape().num_kv_heads;
  Ask(step, &layer.query, &request);
  layer.ticket = step.StartRetrieval(request);
}

void PeriodicAttention::StartLoad(AttentionStep& step, Layer& layer) {
  const std::int64_t sealed = step.shape().sealed_blocks;
  std::vector<Selection> selections;
  if (layer.ticket == 0) {
    selections.push_back(SelectAround(layer.candidates, {}, sealed));
  } else {
    for (const std::vector<BlockIndex>& list : step.Collect(std::exchange(layer.ticket, 0))) {
      selections.push_back(SelectAround(layer.candidates, list, sealed));
    }
  }
  layer.selection.Load(step, std::move(selections));
}

bool PeriodicAttention::Widen() {
  if (options_.sparse_ratio >= 1) return false;
  options_.sparse_ratio = std::min(1.0, std::max(0.01, 2 * options_.sparse_ratio));
  return true;
}

void AskByHead(const AttentionStep& step, const ScoreRule& rule, std::vector<float>* query,
               RetrievalRequest* request) {
  query->assign(step.query().begin(), step.query().end());
  request->query = *query;
  request->score_of = ScoreOf::kHead;
  request->num_scores = step.shape().num_heads;
  request->rule = rule;
}

}  // namespace esa
