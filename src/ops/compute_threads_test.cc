#include "ops/compute_threads.h"

#include <gtest/gtest.h>
#include <omp.h>
#include <sched.h>

#include <thread>
#include <vector>

namespace esa {
namespace {

cpu_set_t CoresOfThisThread() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  EXPECT_EQ(sched_getaffinity(0, sizeof(cores), &cores), 0);
  return cores;
}

// What threads of a pool may run on; the pool is that of a thread made for it.
std::vector<cpu_set_t> CoresByThread(int count, bool pin) {
  std::vector<cpu_set_t> cores;
  std::thread([&] {
    SetUpComputeThreads(count, pin);
    cores.resize(static_cast<std::size_t>(omp_get_max_threads()));
#pragma omp parallel
    cores[static_cast<std::size_t>(omp_get_thread_num())] = CoresOfThisThread();
  }).join();
  return cores;
}

TEST(ComputeThreadsTest, AreAsManyAsAskedForAndFree) {
  const cpu_set_t all = CoresOfThisThread();
  const std::vector<cpu_set_t> cores = CoresByThread(3, false);
  ASSERT_EQ(cores.size(), 3u);
  for (const cpu_set_t& of_thread : cores) EXPECT_TRUE(CPU_EQUAL(&of_thread, &all));
}

TEST(ComputeThreadsTest, PinnedOnesHaveACoreEachButTheCaller) {
  const cpu_set_t all = CoresOfThisThread();
  const int cores = CPU_COUNT(&all);
  // One more than there are cores: it has none left for itself.
  const std::vector<cpu_set_t> pinned = CoresByThread(cores + 1, true);
  EXPECT_TRUE(CPU_EQUAL(&pinned.front(), &all));
  EXPECT_TRUE(CPU_EQUAL(&pinned.back(), &all));
  cpu_set_t taken;
  CPU_ZERO(&taken);
  for (int thread = 1; thread < cores; ++thread) {
    const cpu_set_t& own = pinned[static_cast<std::size_t>(thread)];
    EXPECT_EQ(CPU_COUNT(&own), 1);
    cpu_set_t shared;
    CPU_AND(&shared, &own, &taken);
    EXPECT_EQ(CPU_COUNT(&shared), 0);
    CPU_OR(&taken, &taken, &own);
  }
}

}  // namespace
}  // namespace esa
