#include "esa/plugin.h"

// A shared library without ESA_SPARSE_ATTENTION_PLUGIN.
esa::Status Register() { return {}; }
