#include "model/model.h"

#include "base/check.h"
#include "base/status_macros.h"
#include "model/architectures.h"
#include "model/weights.h"

namespace esa {

Result<std::unique_ptr<Model>> Model::Load(const std::filesystem::path& folder,
                                           const WeightConfig& weight_config) {
  ESA_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(folder));
  const Architecture* architecture = FindArchitecture(config.architecture);
  ESA_CHECK(architecture != nullptr);  // ReadModelConfig accepts no other
  ESA_ASSIGN_OR_RETURN(Weights weights, Weights::Open(folder, weight_config));
  return architecture->load(std::move(config), std::move(weights));
}

}  // namespace esa
