// Counts what a test's binary allocates.
#pragma once

#include <cstdint>

namespace esa {

// Calls of operator new on this thread so far, of the test and of all that it calls.
std::int64_t Allocations();

}  // namespace esa
