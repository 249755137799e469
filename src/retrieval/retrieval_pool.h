// Scores blocks against queries on a few worker threads, beside the compute threads.
//
// The candidates of a request are scored in ranges, by as many workers as are idle and by the
// thread that collects it; who is last chooses. Requests keep their memory for the next ones: once
// sizes settle nothing is allocated.
//
// Threading: Start, Collect and Drop are called from the engine's thread. What a request and its
// view point to must stay valid and unchanged until its ticket is collected or dropped.
#pragma once

#include <memory>
#include <vector>

#include "esa/sparse_attention.h"

namespace esa {

class RetrievalPool {
 public:
  explicit RetrievalPool(int threads);
  ~RetrievalPool();  // finishes what is under way

  RetrievalTicket Start(const RetrievalRequest& request, const RepresentationView& view);

  // Waits for the request's lists, and helps with it. They stay valid until the next Start. A
  // ticket is collected once; no lists for an unknown one.
  BlockLists Collect(RetrievalTicket ticket);

  // Waits for what is under way of it, begins nothing more, and forgets it.
  void Drop(RetrievalTicket ticket);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace esa
