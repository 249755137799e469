// KV that nobody computed, in the store as if a prefill had left it there: a benchmark gets to a
// depth without paying for it.
#pragma once

#include "engine/engine_core.h"
#include "engine/prefill.h"

namespace esa {

// Blocks of random keys and values of variance one for the full blocks of `tokens`; the same tokens
// give the same content. Blocks that the store has stay as they are.
Status StoreMadeUpKv(const EngineCore& core, std::span<const std::int32_t> tokens,
                     const PrefillProgress& progress);

}  // namespace esa
