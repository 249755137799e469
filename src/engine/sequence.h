// One request under way: its tokens, its block table, its algorithm, and what it has cost so far.
//
// Threading: the engine's thread only; retrieval workers read the representations of sealed blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/working_set.h"
#include "esa/llm.h"
#include "esa/sparse_attention.h"
#include "kv/block_hasher.h"
#include "retrieval/representation_table.h"
#include "retrieval/retrieval_pool.h"

namespace esa {

struct Sequence {
  Sequence(const KvGeometry& geometry, std::int64_t max_blocks,
           std::unique_ptr<SparseAttention> sparse)
      : cache(geometry, max_blocks),
        representations(geometry, sparse->Representations(), max_blocks),
        algorithm(std::move(sparse)) {}

  std::size_t index = 0;             // of the request
  std::vector<std::int32_t> tokens;  // prompt and generated
  std::int64_t prompt_tokens = 0;
  SequenceCache cache;
  RepresentationTable representations;
  std::unique_ptr<SparseAttention> algorithm;
  std::vector<RetrievalTicket> retrievals;  // under way
  std::vector<BlockId> pinned;              // in the store, while the sequence lives
  std::vector<BlockId> scratch;             // blocks of its own, removed from the store at the end
  RequestStats stats;
  std::vector<float> logits;    // after the newest token, [vocab_size]
  std::vector<float> means;     // of SealLayer
  bool over_threshold = false;  // an audit of this step found too much missed
  std::vector<double> missed;   // sums of what audits found missed, [num_layers, num_heads]

  // Waits for retrievals under way, and tells the algorithm that it is over.
  void Finish(RetrievalPool* retrieval);

  // Gives up the algorithm.
  void FallBackToDense(RetrievalPool* retrieval);

  // What audits found, into stats.
  void SumUpAudits();

  // Describes a full block of a layer for retrieval, its slices being resident. Returns what the
  // store keeps beside it, the mean keys [num_kv_heads, head_dim], until the next call.
  std::span<const float> SealLayer(int layer, std::int64_t block);

  SequenceShape Shape(std::int64_t context_tokens, std::int64_t sealed_blocks,
                      int num_heads) const {
    const KvGeometry& geometry = cache.geometry();
    return {.prompt_tokens = prompt_tokens,
            .context_tokens = context_tokens,
            .sealed_blocks = sealed_blocks,
            .block_tokens = geometry.slice.block_tokens,
            .num_layers = geometry.num_layers,
            .num_heads = num_heads,
            .num_kv_heads = geometry.num_kv_heads,
            .head_dim = geometry.slice.head_dim};
  }
};

}  // namespace esa
