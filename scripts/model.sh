#!/usr/bin/env bash
# The deep runs of the model checker (tests/model), in release: about a quarter of an hour on two cores.
# Usage: scripts/model.sh [NAME-OF-RUN]; PBKV_MODEL_SEED=N walks with other seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm --force "$log"' EXIT
PBKV_MODEL_DEEP=1 cargo test --locked --release --test model "${1:-runs}" -- \
    --nocapture --test-threads 2 | tee "$log"
printf '\nWhat each run has covered:\n'
grep --extended-regexp ' in [0-9.]+s$' "$log" | grep --invert-match ' so far ' |
    sed 's/^test .* \.\.\. //' | sort --version-sort
