#include "ops/compute_threads.h"

#include <omp.h>
#include <sched.h>

#include <vector>

namespace esa {
namespace {

std::vector<int> AllowedCores() {
  std::vector<int> cores;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed)) cores.push_back(core);
  }
  return cores;
}

}  // namespace

void SetUpComputeThreads(int count, bool pin) {
  if (count > 0) omp_set_num_threads(count);
  if (!pin) return;
  const std::vector<int> cores = AllowedCores();
#pragma omp parallel
  {
    const auto thread = static_cast<std::size_t>(omp_get_thread_num());
    if (thread > 0 && thread < cores.size()) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cores[thread], &one);
      sched_setaffinity(0, sizeof(one), &one);  // where it fails the thread stays as free as it was
    }
  }
}

bool ComputeThreadsFillCores() {
  return static_cast<std::size_t>(omp_get_max_threads()) >= AllowedCores().size();
}

void OnComputeThreads(const std::function<void()>& work) {
#pragma omp parallel
  work();
}

}  // namespace esa
