#!/usr/bin/env bash
# pbkv beside what a user would pick instead, in one run on this machine: builds, then compares.
# Installs nothing: what is missing is named, and its rows are left out.
# usage: bench_peers.sh [ROW ...] [--rounds N] [--seconds S] [--json FILE] ...; see --help
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v python3 >/dev/null || { echo "bench_peers.sh: python3 is missing" >&2; exit 2; }
if [[ " $* " != *" --help "* && " $* " != *" -h "* ]]; then
    cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" --bins --example peers
fi
export PBKV_RELEASE=${CARGO_TARGET_DIR:-$root/target}/release
exec python3 -B "$root/scripts/bench_peers" "$@"
