#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace esa {

void CheckFailed(const char* condition, std::source_location where) {
  std::fprintf(stderr, "%s:%u: check failed: %s\n", where.file_name(), where.line(), condition);
  std::abort();
}

}  // namespace esa
