// One decode step of a batch of sequences: each takes in its newest token and gets logits.
#pragma once

#include <memory>
#include <span>

#include "engine/engine_core.h"

namespace esa {

// Keeps buffers between steps. Threading: one thread.
class Decoder {
 public:
  explicit Decoder(const EngineCore& core);
  ~Decoder();

  // The last of each sequence's tokens is the one to process: its KV is not there yet.
  Status Step(std::span<Sequence* const> batch);

 private:
  class Pass;
  std::unique_ptr<Pass> pass_;
};

}  // namespace esa
