#include <stdexcept>

#include "esa/plugin.h"

namespace {

esa::Status Register() { throw std::runtime_error("no coffee"); }

}  // namespace

ESA_SPARSE_ATTENTION_PLUGIN(Register)
