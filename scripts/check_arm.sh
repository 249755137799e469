#!/usr/bin/env bash
# Builds the kernels and their tests for ARM and runs them in an emulator, on x86 Debian 12 with
# g++-aarch64-linux-gnu, qemu-user-static and googletest installed.
# Usage: scripts/check_arm.sh [BUILD_DIR] [GTEST_FILTER]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/arm} filter=${2:-*}
mkdir -p "$build"

# Headers that do not depend on the processor are those of the host.
mkdir -p "$build/include"
for headers in hwy fmt; do ln -sfn "/usr/include/$headers" "$build/include/$headers"; done
googletest=/usr/src/googletest/googletest
flags=(-std=c++20 -O2 -Wall -Wextra -Wshadow -Wno-unused-parameter -Werror -fopenmp -DFMT_HEADER_ONLY
  -DESA_VECTOR128_KERNELS "-DESA_SOURCE_DIR=\"$PWD\""
  -Isrc -Iinclude -isystem "$build/include" -isystem "$googletest/include" -isystem "$googletest")
sources=(src/base/check.cc src/base/zeroed_pages.cc src/ops/kernels/scalar.cc
  src/ops/kernels/vector128.cc "$googletest/src/gtest-all.cc" "$googletest/src/gtest_main.cc")
for source in src/ops/*.cc; do
  case "$source" in
    *_bench.cc | *ggml_blocks*) ;;  # of tests that need other modules
    *) sources+=("$source") ;;
  esac
done

objects=()
for source in "${sources[@]}"; do
  object="$build/$(basename "${source%.cc}").o"
  objects+=("$object")
  [[ $source == /* && $object -nt $source ]] && continue  # ours depend on headers too
  echo "compiling $source"
  extra=()
  [[ $source == */vector128.cc ]] && extra=(-march=armv8-a+crypto)  # as CMakeLists.txt has it
  aarch64-linux-gnu-g++ "${flags[@]}" "${extra[@]}" -c "$source" -o "$object"
done
aarch64-linux-gnu-g++ -static -fopenmp "${objects[@]}" -o "$build/ops_test"
OMP_NUM_THREADS=2 qemu-aarch64-static "$build/ops_test" --gtest_brief=1 --gtest_filter="$filter"
