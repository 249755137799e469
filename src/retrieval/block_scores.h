// Scores of blocks by the rules of RetrievalRequest.
//
// Every rule but kCodes is a sum of products of rows with vectors made from the query: kBounds is
// positive(q) . upper + negative(q) . lower, and the square root and the exponent of the others
// have q^2 . variance. So all run at the speed of one kernel, DotRows.
//
// Threading: pure functions; they keep scratch memory by thread.
#pragma once

#include <span>

#include "esa/sparse_attention.h"

namespace esa {

// Fills scores [num_scores, range.size()] as the request's score_of, query and rule say.
void ScoreBlocks(const RepresentationView& view, const RetrievalRequest& request, BlockRange range,
                 const ScoreRows& scores);

}  // namespace esa
