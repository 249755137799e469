#!/usr/bin/env bash
# Installs the Debian packages that building and testing need, only those that are missing.
# Usage: scripts/setup.sh [--tsan]
set -euo pipefail

packages=(
  cmake ninja-build g++ pkg-config
  libdnnl-dev libhwy-dev
  nlohmann-json3-dev libyaml-cpp-dev libcli11-dev libfmt-dev
  libssl-dev libhiredis-dev liburing-dev libxxhash-dev libpcre2-dev libutf8proc-dev
  libgtest-dev libgmock-dev
  redis-server  # of which the tests of the redis store start one of their own
  python3-jieba  # the word dictionary of Chinese metrics
)
for argument in "$@"; do
  case "$argument" in
    --tsan) packages+=(clang-14 libomp-14-dev) ;;  # a thread sanitizer that understands OpenMP
    *) echo "setup.sh: unknown option $argument; known: --tsan" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || {
    echo "setup.sh: run as root, or install: ${missing[*]}" >&2
    exit 1
  }
  root=(sudo)
fi
echo "setup.sh: installing ${missing[*]}"
"${root[@]}" apt-get -qq update
"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get -qq install -y --no-install-recommends "${missing[@]}"
