#!/usr/bin/env bash
# Kills, restarts, stops and cuts off the servers of a real cluster with keys, one after the other,
# for SECONDS (default 1800), while its network loses a fifth of all datagrams, and judges what its
# clients saw. PBKV_NEMESIS_SEED repeats the order of faults.
set -euo pipefail

cd "$(dirname "$0")/.."
PBKV_NEMESIS=${1:-1800} exec cargo test --release --locked \
    --test binaries -- --nocapture every_fault_in_turn
