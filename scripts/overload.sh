#!/usr/bin/env bash
# Floods the primary of a real cluster with more requests than it can answer, for SECONDS (default
# 60), and says what its clients noticed. Fails if a view ends or memory exceeds its bounds.
set -euo pipefail

cd "$(dirname "$0")/.."
PBKV_OVERLOAD=${1:-60} exec cargo test --release --locked \
    --test binaries -- --nocapture a_flood_of_requests
