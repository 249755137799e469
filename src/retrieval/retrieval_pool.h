// Scores blocks against queries on a few worker threads, beside the compute threads.
//
// Threading: Start and Collect are called from the engine's thread. What a request's view points
// to must stay valid and unchanged until its ticket is collected.
#pragma once

#include <memory>
#include <vector>

#include "esa/sparse_attention.h"

namespace esa {

class RetrievalPool {
 public:
  explicit RetrievalPool(int threads);
  ~RetrievalPool();  // finishes what is under way

  RetrievalTicket Start(RetrievalRequest request, const RepresentationView& view);

  // The request's best k blocks, sorted; waits for them. A ticket is collected once.
  std::vector<BlockIndex> Collect(RetrievalTicket ticket);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace esa
