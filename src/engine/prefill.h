// Prefill of one sequence: restores the stored prefix, computes the rest, makes the first
// selection.
//
// Layer-major: all chunks go through layer 0, then through layer 1, and so on, so that only one
// layer's dense KV has to be resident at a time; the price is the hidden states of the prompt.
// Chunks begin at multiples of prefill_chunk_tokens whatever was restored, so that a token is
// computed with the same neighbours, and to the same bits, cold and restored.
#pragma once

#include <functional>

#include "engine/engine_core.h"

namespace esa {

using PrefillProgress = std::function<void(double fraction)>;

// Leaves the logits of the last token in sequence.logits. Errors: one layer of the prompt's KV
// does not fit in KV memory (the message has the numbers).
Status Prefill(const EngineCore& core, Sequence& sequence, const PrefillProgress& progress);

// Logits of every token, [tokens, vocab_size]; keeps no KV.
Result<std::vector<float>> PrefillLogits(const EngineCore& core, Sequence& sequence);

}  // namespace esa
