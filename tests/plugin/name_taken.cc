#include "esa/plugin.h"

namespace {

esa::Status Register() {
  return esa::RegisterSparseAttention("ESA", [](const esa::Options& options) {
    return esa::CreateSparseAttention("dense", options);
  });
}

}  // namespace

ESA_SPARSE_ATTENTION_PLUGIN(Register)
