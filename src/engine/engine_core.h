// What prefill and decode share: the model, the working set and the retrieval workers.
#pragma once

#include "engine/sequence.h"
#include "engine/working_set.h"
#include "model/model.h"
#include "retrieval/retrieval_pool.h"

namespace esa {

// Nothing here is owned. One thread.
struct EngineCore {
  const Model* model = nullptr;
  const BlockHasher* hasher = nullptr;
  WorkingSet* working_set = nullptr;
  RetrievalPool* retrieval = nullptr;
  const SelectionObserver* observer = nullptr;  // may be empty
  KvGeometry geometry;
  AuditConfig audit;
  PrefillConfig prefill;
  int prefill_chunk_tokens = 0;
  bool may_spill = false;  // KV may outgrow the pool: what decode seals has to reach the store
};

}  // namespace esa
