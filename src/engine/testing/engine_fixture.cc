#include "engine/testing/engine_fixture.h"

#include <algorithm>

#include "base/random.h"
#include "base/status_macros.h"
#include "engine/testing/allocations.h"
#include "engine/testing/faulty_store.h"

namespace esa {
namespace {

const Model& TestModel() {
  static const std::unique_ptr<Model> model =
      std::move(*Model::Load(ESA_SOURCE_DIR "/tests/golden/llama_tied"));
  return *model;
}

KvGeometry TestGeometry(KvDtype dtype) {
  const ModelConfig& config = TestModel().config();
  return {.num_layers = config.num_layers,
          .num_kv_heads = config.num_kv_heads,
          .slice = {.block_tokens = kTestBlockTokens, .head_dim = config.head_dim, .dtype = dtype}};
}

Result<std::unique_ptr<FaultyStore>> OpenTestStore(const EngineSetup& setup,
                                                   const KvGeometry& geometry) {
  StoreConfig config;
  config.backend = setup.store;
  if (!setup.folder.empty()) config.storage_backends = {setup.folder};
  const BlockLayout layout{
      .block_tokens = kTestBlockTokens,
      .num_slices = static_cast<std::uint32_t>(geometry.slices_per_block()),
      .slice_bytes = static_cast<std::uint64_t>(geometry.slice.slice_bytes()),
      .representation_bytes = static_cast<std::uint32_t>(geometry.slice.head_dim) * 4u};
  ESA_ASSIGN_OR_RETURN(auto inner, CreateBlockStore(config, layout));
  return std::make_unique<FaultyStore>(std::move(inner));
}

Status Generate(const EngineCore& core, Sequence& sequence, FaultyStore* store,
                const EngineSetup& setup, int steps, EngineRun* run) {
  ESA_RETURN_IF_ERROR(Prefill(core, sequence, {}));
  run->logits.push_back(sequence.logits);
  if (store != nullptr) store->fail_loads = setup.fail_loads;
  Decoder decoder(core);
  Sequence* batch[] = {&sequence};
  for (int i = 0; i < steps; ++i) {
    const auto best = std::max_element(sequence.logits.begin(), sequence.logits.end());
    sequence.tokens.push_back(static_cast<std::int32_t>(best - sequence.logits.begin()));
    const std::int64_t before = Allocations();
    ESA_RETURN_IF_ERROR(decoder.Step(batch));
    run->allocations.push_back(Allocations() - before);
    run->logits.push_back(sequence.logits);
  }
  return {};
}

}  // namespace

Result<EngineRun> RunEngine(const EngineSetup& setup, std::int64_t prompt_tokens, int steps) {
  const KvGeometry geometry = TestGeometry(setup.kv_dtype);
  std::unique_ptr<FaultyStore> store;
  if (!setup.store.empty()) {
    ESA_ASSIGN_OR_RETURN(store, OpenTestStore(setup, geometry));
  }
  ESA_ASSIGN_OR_RETURN(
      auto pool,
      SlicePool::Create(geometry.slice.slice_bytes(),
                        static_cast<std::uint64_t>(setup.pool_blocks * geometry.block_bytes())));
  const BlockHasher hasher(TestModel().Fingerprint(), geometry, "");
  RetrievalPool retrieval(1);
  WorkingSet working_set(pool.get(), store.get(), std::chrono::seconds(10));
  const EngineCore core{.model = &TestModel(),
                        .hasher = &hasher,
                        .working_set = &working_set,
                        .retrieval = &retrieval,
                        .observer = &setup.observer,
                        .geometry = geometry,
                        .audit = setup.audit,
                        .prefill = {},
                        .prefill_chunk_tokens = 2 * kTestBlockTokens,
                        .may_spill = store != nullptr};
  ESA_ASSIGN_OR_RETURN(auto algorithm, CreateSparseAttention(setup.algorithm, setup.options));
  Sequence sequence(geometry, (prompt_tokens + steps) / kTestBlockTokens + 1, std::move(algorithm));
  SplitMix64 random(7);
  for (std::int64_t i = 0; i < prompt_tokens; ++i) {
    sequence.tokens.push_back(static_cast<std::int32_t>(
        random.Below(static_cast<std::uint64_t>(TestModel().config().vocab_size))));
  }
  sequence.prompt_tokens = prompt_tokens;
  EngineRun run;
  const Status done = Generate(core, sequence, store.get(), setup, steps, &run);
  sequence.SumUpAudits();
  sequence.Finish(&retrieval);
  working_set.Finish(sequence.cache);
  run.stats = sequence.stats;
  run.slots_left = pool->used_slots();
  run.peak_slots = pool->peak_slots();
  if (!done) return done.error();
  return run;
}

}  // namespace esa
