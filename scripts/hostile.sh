#!/usr/bin/env bash
# Sends COUNT hostile datagrams (default 1000000) to each role of a real cluster under load, RATE a
# second (default 5000), and says what its clients noticed. Fails if anything crashes, changes,
# grows beyond its bounds, or is declared dead.
set -euo pipefail

cd "$(dirname "$0")/.."
PBKV_HOSTILE=${1:-1000000} PBKV_HOSTILE_RATE=${2:-5000} exec cargo test --release --locked \
    --test binaries -- --nocapture hostile_datagrams_change_nothing
