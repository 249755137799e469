// The table of model architectures; architectures.def has its rows.
//
// Threading: constant.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "esa/result.h"
#include "model/model.h"
#include "model/weights.h"

namespace esa {

struct Architecture {
  std::string_view name;  // model_type of config.json
  Result<std::unique_ptr<Model>> (*load)(ModelConfig config, Weights weights);
};

std::span<const Architecture> Architectures();

// The row of that name, or null.
const Architecture* FindArchitecture(std::string_view name);

// "llama, qwen2, qwen3"
std::string ArchitectureNames();

}  // namespace esa
