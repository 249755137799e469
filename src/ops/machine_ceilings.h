// What this machine reaches at most, measured: the figures that a benchmark's are set beside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace esa {

// Rates a second. Two threads of a virtual machine may share a core, and at another time not: the
// ratio of all threads to one says how it was just now.
struct MachineCeilings {
  int threads = 0;
  double read_bytes = 0;             // streaming through memory in huge pages, all threads
  double read_bytes_one_thread = 0;  // likewise, one
  double f32_operations = 0;         // multiply-adds count twice, in registers, all threads
  double f32_operations_one_thread = 0;
  double bf16_operations = 0;  // in dot product instructions; 0: the processor has none
};

// With so many OpenMP threads; 0: as many as the caller's next parallel region has. Takes about a
// second. Medians of some rounds.
MachineCeilings MeasureCeilings(int threads);

// Reads all of it with so many threads, asking for memory ahead as the kernels do; the result means
// nothing. `bytes`: a multiple of a MiB.
std::uint64_t ReadMemory(const std::byte* data, std::int64_t bytes, int threads);

// "2 threads: 31.2 GB/s read (1: 22.0), 228 GFLOP/s in f32 (1: 115), 457 in bf16".
std::string CeilingsText(const MachineCeilings& ceilings);

}  // namespace esa
