#!/usr/bin/env bash
# Builds esa and runs the demonstration on the model in this repository.
# Usage: scripts/demo.sh [options of `esa demo`]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
# Compute threads that spin while they wait take the cores from the threads that read blocks.
export OMP_WAIT_POLICY=passive
cmake --preset release --log-level=WARNING
cmake --build build --target esa_cli
exec build/bin/esa demo --model models/esa-needle --out build/demo "$@"
