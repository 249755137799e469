#!/usr/bin/env bash
# Builds everything and runs all tests.
# Usage: scripts/test.sh [--preset release|debug|asan|clang|tsan] [options of ctest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=release
if [[ ${1:-} == --preset ]]; then
  preset=${2:?"test.sh: --preset needs a name"}
  shift 2
fi
build=build/$preset
setup=()
case "$preset" in
  release) build=build ;;
  debug | asan) ;;
  clang | tsan) setup=(--tsan) ;;
  *) echo "test.sh: unknown preset $preset; known: release debug asan clang tsan" >&2; exit 2 ;;
esac

scripts/setup.sh "${setup[@]}"
# Compute threads that spin while they wait take the cores from the threads that read blocks.
export OMP_WAIT_POLICY=passive
if [[ $preset == tsan ]]; then
  # Archer tells the sanitizer what OpenMP synchronises.
  export OMP_TOOL_LIBRARIES=/usr/lib/llvm-14/lib/libarcher.so
  export TSAN_OPTIONS="ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}"
fi
cmake --preset "$preset" -DESA_BUILD_TESTS=ON
cmake --build "$build"
exec ctest --test-dir "$build" --output-on-failure -j2 "$@"
