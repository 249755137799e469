// Was a row that is meant to be sparse decoded sparsely? Private to eval.
//
// Threading: pure functions.
#pragma once

#include <string>

#include "esa/result.h"
#include "eval/compare.h"

namespace esa {

// Errors name row, file and record. A record with more blocks than the row's algorithm may keep
// resident must have been decoded sparsely; and over the file, the row must have attended to less
// than dense. `dense` is the cell of the same file; `model` as in ModelFacts.
Status CheckSparse(const CompareRow& row, const CompareFile& file, const CompareCell& cell,
                   const CompareCell& dense, const SequenceShape& model);

}  // namespace esa
