// Checks for broken invariants: a failure is a defect of this program, never of its input.
#pragma once

#include <source_location>

namespace esa {

// Writes file, line and the condition to stderr and aborts.
[[noreturn]] void CheckFailed(const char* condition, std::source_location where);

}  // namespace esa

#define ESA_CHECK(condition)                                                     \
  do {                                                                           \
    if (!(condition)) [[unlikely]]                                               \
      ::esa::CheckFailed(#condition, std::source_location::current());           \
  } while (false)
