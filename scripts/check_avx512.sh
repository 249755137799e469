#!/usr/bin/env bash
# Runs the tests of the kernels for AVX-512 on a processor without it, in plain C++ (slow), on Debian
# 12 with libsimde-dev, googletest and what scripts/setup.sh installs. What inline assembly, alignment
# and speed are on such a processor it does not tell.
# Usage: scripts/check_avx512.sh [BUILD_DIR] [GTEST_FILTER]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/avx512} filter=${2:-*avx512*}
mkdir -p "$build"

googletest=/usr/src/googletest/googletest
flags=(-std=c++20 -O2 -fopenmp -DFMT_HEADER_ONLY -DESA_X86_KERNELS "-DESA_SOURCE_DIR=\"$PWD\""
  -Isrc -Iinclude -isystem "$googletest/include" -isystem "$googletest")
sources=(src/base/check.cc src/base/zeroed_pages.cc src/ops/kernels/scalar.cc src/ops/kernels/avx2.cc
  src/ops/kernels/avx512.cc src/ops/kernels/avx512_bf16.cc src/ops/kernels/avx512_popcount.cc
  "$googletest/src/gtest-all.cc" "$googletest/src/gtest_main.cc")
for source in src/ops/*.cc; do
  case "$source" in
    *_bench.cc | *ggml_blocks*) ;;  # of tests that need other modules
    *) sources+=("$source") ;;
  esac
done

# SIMDe leaves lanes undefined where the processor does, and casts where it has types of its own.
emulated=(-Itests/avx512_emulation -fpermissive -w -Wno-psabi)
objects=()
for source in "${sources[@]}"; do
  object="$build/$(basename "${source%.cc}").o"
  objects+=("$object")
  [[ $source == /* && $object -nt $source ]] && continue  # ours depend on headers too
  echo "compiling $source"
  extra=()
  case "$source" in
    */avx2.cc) extra=(-mavx2 -mfma -mf16c -mpopcnt) ;;
    */avx512_bf16.cc) extra=("${emulated[@]}" -D__AVX512VNNI__) ;;
    */avx512*.cc) extra=("${emulated[@]}") ;;
    */isa.cc) extra=("-D__builtin_cpu_supports(feature)=true") ;;
  esac
  g++ "${flags[@]}" "${extra[@]}" -c "$source" -o "$object"
done
g++ -fopenmp "${objects[@]}" -o "$build/ops_test"
OMP_NUM_THREADS=2 "$build/ops_test" --gtest_brief=1 --gtest_filter="$filter"
