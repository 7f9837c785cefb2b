#!/usr/bin/env bash
# Runs the simulated cluster with SEEDS seeds in release, from PBKV_FIRST_SEED (default 0) on.
set -euo pipefail

if [[ $# -ne 1 || ! $1 =~ ^[0-9]+$ ]]; then
    echo "usage: scripts/simulate.sh SEEDS" >&2
    exit 2
fi

cd "$(dirname "$0")/.."
PBKV_SEEDS=$1 exec cargo test --release --locked --test cluster -- seeds_of_every_mix
