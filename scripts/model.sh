#!/usr/bin/env bash
# The deep runs of the model checker (tests/model), in release: tens of minutes.
# Usage: scripts/model.sh [NAME-OF-RUN]; PBKV_MODEL_SEED=N walks with other seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
PBKV_MODEL_DEEP=1 cargo test --locked --release --test model "${1:-runs}" -- --nocapture --test-threads 2
