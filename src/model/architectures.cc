#include "model/architectures.h"

#include <algorithm>

namespace esa {

#define ESA_ARCHITECTURE(name) \
  Result<std::unique_ptr<Model>> Load_##name(ModelConfig config, Weights weights);
#include "model/architectures.def"
#undef ESA_ARCHITECTURE

namespace {

constexpr Architecture kArchitectures[] = {
#define ESA_ARCHITECTURE(name) {#name, &Load_##name},
#include "model/architectures.def"
#undef ESA_ARCHITECTURE
};

}  // namespace

std::span<const Architecture> Architectures() { return kArchitectures; }

const Architecture* FindArchitecture(std::string_view name) {
  const auto* row = std::ranges::find(kArchitectures, name, &Architecture::name);
  return row == std::end(kArchitectures) ? nullptr : row;
}

std::string ArchitectureNames() {
  std::string names;
  for (const Architecture& row : kArchitectures) {
    if (!names.empty()) names += ", ";
    names += row.name;
  }
  return names;
}

}  // namespace esa
