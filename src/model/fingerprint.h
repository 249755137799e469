// A name for a model's computation: equal weights and equal arithmetic, equal fingerprint.
//
// Threading: uses the OpenMP pool; call from one thread at a time.
#pragma once

#include <array>
#include <cstdint>

#include "model/model.h"
#include "model/weights.h"

namespace esa {

// XXH3-128 over the config fields that change the computation and, for every tensor by rising name,
// its name, type, shape and bytes. How the tensors are spread over files does not change it. The
// bytes enter as the XXH3-128 of runs of 16 MiB, which are hashed in parallel.
std::array<std::uint8_t, 16> FingerprintOf(const ModelConfig& config, const Weights& weights);

}  // namespace esa
