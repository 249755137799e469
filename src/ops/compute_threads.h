// The OpenMP pool of the calling thread.
#pragma once

#include <functional>

namespace esa {

// As many threads as `count` says; 0 leaves what OpenMP has, one for each core unless told. `pin`:
// each but the calling one is bound to a core of its own, of those the process may use, the first
// being left to the caller. The caller itself stays free: threads that it makes later would inherit
// its one core.
void SetUpComputeThreads(int count, bool pin);

// Whether they leave no core to others, of those the process may use.
bool ComputeThreadsFillCores();

// Calls `work` on each of them, the calling one included.
void OnComputeThreads(const std::function<void()>& work);

}  // namespace esa
