#include "esa/plugin.h"

namespace esa {
Status NotInThisEsa();
}

ESA_SPARSE_ATTENTION_PLUGIN(esa::NotInThisEsa)
