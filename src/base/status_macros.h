// Early return of an Error from a function that returns Result<T> or Status.
#pragma once

#include "esa/result.h"

#define ESA_CONCAT_INNER(a, b) a##b
#define ESA_CONCAT(a, b) ESA_CONCAT_INNER(a, b)

#define ESA_RETURN_IF_ERROR(expr)                                        \
  do {                                                                   \
    if (auto esa_status = (expr); !esa_status) return esa_status.error(); \
  } while (false)

// ESA_ASSIGN_OR_RETURN(auto tokens, Parse(text));
#define ESA_ASSIGN_OR_RETURN(lhs, expr) \
  ESA_ASSIGN_OR_RETURN_INNER(ESA_CONCAT(esa_result_, __LINE__), lhs, expr)
#define ESA_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                               \
  if (!tmp) return tmp.error();                    \
  lhs = std::move(*tmp)
