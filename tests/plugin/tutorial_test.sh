#!/bin/sh
# tutorial_test.sh PAGE BUILD_DIR MODEL WORK_DIR: does what a page of docs/howto tells its reader to.
#
# A fenced block whose info string has a second word is taken: "cpp nearest.h" writes the file
# nearest.h, "sh run" runs the block. Expects cmake in PATH, and in CXX what CMake is to use.
set -eu
page=$1 build=$2 MODEL=$3 work=$4
export MODEL ESA="$work/esa" OMP_WAIT_POLICY=passive PATH="$work/esa/bin:$PATH"

rm -rf "$work"
mkdir -p "$work/reader"
cmake --install "$build" --prefix "$ESA" > "$work/install.log"

# The page as one script.
awk '
  /^```/ && open { if (file) print "END_OF_FILE"; open = taken = 0; file = ""; next }
  /^```/ {
    open = 1
    taken = NF == 2
    if (taken && $2 != "run") print "cat > " (file = $2) " <<\"END_OF_FILE\""
    next
  }
  taken' "$page" > "$work/page.sh"

cd "$work/reader"
sh -eux "$work/page.sh" > "$work/output.txt" 2>&1 || { cat "$work/output.txt"; exit 1; }
cat "$work/output.txt"

# Each algorithm it registers was run, and left something out.
for name in $(grep -o '>("[a-z_]*")' plugin.cc | tr -d '>()"'); do
  grep -q "^stats ($name)" "$work/output.txt" || { echo "$name was not run sparsely"; exit 1; }
done
