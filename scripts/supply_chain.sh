#!/usr/bin/env bash
# Licences, sources, double versions, unsafe code, and advisories where there is a copy of them.
# usage: scripts/supply_chain.sh [CLONE OF rustsec/advisory-db]
set -euo pipefail
cd "$(dirname "$0")/.."

python3 scripts/supply_chain.py ${1:+--advisories "$1"}
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --locked --offline check --config .deny.toml bans licenses sources
else
    echo "cargo-deny: not installed; cargo install --locked cargo-deny (about five minutes)" \
        "checks the same with .deny.toml"
fi
