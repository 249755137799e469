// Checks for broken invariants: a failure is a defect of this program, never of its input.
#pragma once

namespace esa {

// Writes file, line and the condition to stderr and aborts.
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace esa

#define ESA_CHECK(condition)                                                     \
  do {                                                                           \
    if (!(condition)) [[unlikely]]                                               \
      ::esa::CheckFailed(#condition, __FILE__, __LINE__);                        \
  } while (false)
