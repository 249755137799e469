// The OpenMP pool of the calling thread.
#pragma once

namespace esa {

// As many threads as `count` says; 0 leaves what OpenMP has, one for each core unless told. `pin`:
// each but the calling one is bound to a core of its own, of those the process may use, the first
// being left to the caller. The caller itself stays free: threads that it makes later would inherit
// its one core.
void SetUpComputeThreads(int count, bool pin);

}  // namespace esa
