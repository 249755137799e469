// Which instruction set the kernels use: chosen once from what the processor offers, or forced.
#pragma once

#include <span>
#include <string_view>

namespace esa {

enum class Isa { kScalar, kVector128, kAvx2, kAvx512, kAvx512Bf16 };

std::string_view IsaName(Isa isa);

// What this processor can run, best last; kScalar is always there.
std::span<const Isa> AvailableIsas();

// The one in force: the best available, unless ESA_ISA (a name) or ForceIsa says otherwise.
Isa CurrentIsa();

// For tests and benchmarks; must be one of AvailableIsas(). Not while kernels run.
void ForceIsa(Isa isa);

}  // namespace esa
