#include "ops/isa.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <vector>

#include "base/check.h"
#include "ops/kernels/kernels.h"

namespace esa {
namespace {

struct Row {
  Isa isa;
  Kernels kernels;
};

#ifdef ESA_X86_KERNELS
Kernels Avx512Bf16Kernels() {
  Kernels kernels = kAvx512Kernels;
  kernels.attend_bf16 = AttendBf16Avx512Bf16;
  kernels.probe_bf16 = kProbeAvx512Bf16;
  kernels.product_int8 = ProductInt8Avx512Vnni;
  kernels.product_int4 = ProductInt4Avx512Vnni;
  kernels.block_int8 = BlockInt8Avx512Vnni;
  kernels.block_int4 = BlockInt4Avx512Vnni;
  kernels.attend_int8 = AttendInt8Avx512Vnni;
  kernels.attend_rows_bf16 = nullptr;  // products of bf16 itself
  kernels.attend_rows_int8 = AttendRowsInt8Avx512Vnni;
  // Cooper Lake alone has bf16 without it.
  if (__builtin_cpu_supports("avx512vpopcntdq")) kernels.code_matches = CodeMatchesAvx512Popcount;
  return kernels;
}

bool ProcessorHas(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kVector128:
      return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("popcnt");
    case Isa::kAvx512:
      return ProcessorHas(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    case Isa::kAvx512Bf16:
      return ProcessorHas(Isa::kAvx512) && __builtin_cpu_supports("avx512bf16") &&
             __builtin_cpu_supports("avx512vnni");
  }
  return false;
}
#else
// NEON is part of every ARM processor of 64 bits.
bool ProcessorHas(Isa isa) { return isa == Isa::kScalar || isa == Isa::kVector128; }
#endif

#ifdef ESA_VECTOR128_KERNELS
Kernels Vector128Kernels() {
  Kernels kernels = kScalarKernels;
  TakeVector128Kernels(&kernels);
  return kernels;
}
#endif

const auto& Table() {
  static const std::array table = {
      Row{Isa::kScalar, kScalarKernels},
#ifdef ESA_VECTOR128_KERNELS
      Row{Isa::kVector128, Vector128Kernels()},
#endif
#ifdef ESA_X86_KERNELS
      Row{Isa::kAvx2, kAvx2Kernels},
      Row{Isa::kAvx512, kAvx512Kernels},
      Row{Isa::kAvx512Bf16, Avx512Bf16Kernels()},
#endif
  };
  return table;
}

bool IsAvailable(Isa isa) {
  const std::span<const Isa> all = AvailableIsas();
  return std::find(all.begin(), all.end(), isa) != all.end();
}

// A name that is not known or not available changes nothing: a library has nobody to tell.
const Row* InitialRow() {
  const char* wanted = std::getenv("ESA_ISA");
  const Row* chosen = nullptr;
  for (const Row& row : Table()) {
    if (!IsAvailable(row.isa)) continue;
    chosen = &row;
    if (wanted != nullptr && IsaName(row.isa) == wanted) break;
  }
  return chosen;
}

std::atomic<const Row*>& CurrentRow() {
  static std::atomic<const Row*> row = InitialRow();
  return row;
}

}  // namespace

std::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kVector128:
      return "vector128";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
  }
  return "unknown";
}

std::span<const Isa> AvailableIsas() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> found;
    for (const Row& row : Table()) {
      if (ProcessorHas(row.isa)) found.push_back(row.isa);
    }
    return found;
  }();
  return isas;
}

Isa CurrentIsa() { return CurrentRow().load(std::memory_order_relaxed)->isa; }

void ForceIsa(Isa isa) {
  ESA_CHECK(IsAvailable(isa));
  for (const Row& row : Table()) {
    if (row.isa == isa) CurrentRow().store(&row, std::memory_order_relaxed);
  }
}

const Kernels& CurrentKernels() { return CurrentRow().load(std::memory_order_relaxed)->kernels; }

}  // namespace esa
