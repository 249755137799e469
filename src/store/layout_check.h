// What every backend demands of a BlockLayout before it serves it.
#pragma once

#include "esa/block_store.h"
#include "esa/result.h"

namespace esa {

// kInvalidArgument, naming the field and its bounds.
Status CheckLayout(const BlockLayout& layout);

}  // namespace esa
