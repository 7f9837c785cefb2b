#!/usr/bin/env bash
# Fuzzes each target (or those named) for so many seconds each; prints executions and coverage.
# usage: scripts/fuzz.sh [SECONDS_EACH] [TARGET...]      (514 seconds each: an hour for all seven)
#
# Starts with the inputs in tests/fuzz/corpus; what is found in addition is kept in target/fuzz/work.
# An input that breaks something goes to target/fuzz/found: fix it, and keep it in the corpus as
# found-SOMETHING. PBKV_FUZZ_KEEP=1 replaces the corpora by the smallest ones with the same coverage.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" CARGO_TARGET_DIR=target/fuzz RUST_LOG=off
seconds=${1:-514}
if [[ ! $seconds =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: scripts/fuzz.sh [SECONDS_EACH] [TARGET...]" >&2
    exit 2
fi
all=(tests/fuzz/fuzzers/*.rs)
all=("${all[@]##*/}")
targets=("${@:2}")
(( ${#targets[@]} )) || targets=("${all[@]%.rs}")
for target in "${targets[@]}"; do
    if [[ ! -f tests/fuzz/fuzzers/$target.rs ]]; then
        echo "fuzz.sh: there is no target $target; there are: ${all[*]%.rs}" >&2
        exit 2
    fi
done
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz.sh: cargo-fuzz is missing; install it (half a minute, stable Rust will do):" >&2
    echo "    cargo install --locked cargo-fuzz" >&2
    exit 1
fi
if ! command -v c++ >/dev/null; then
    echo "fuzz.sh: a C++ compiler is missing (libFuzzer is C++); apt-get install g++" >&2
    exit 1
fi

# Without a sanitizer: there is no unsafe code to look into, stable Rust will do, and it is faster.
fuzz() { cargo fuzz "$1" --fuzz-dir tests/fuzz --sanitizer none "${@:2}"; }

fuzz build
failed=()
for target in "${targets[@]}"; do
    corpus=tests/fuzz/corpus/$target work=target/fuzz/work/$target found=target/fuzz/found/$target
    log=target/fuzz/$target.log
    mkdir -p "$work" "$found"
    options=(-max_total_time="$seconds" -max_len=4096 -timeout=60 -print_final_stats=1)
    fuzz run "$target" "$work" "$corpus" -- "${options[@]}" -artifact_prefix="$found/" \
        >"$log" 2>&1 || failed+=("$target")
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    echo "$target: ${executions:-?} executions, ${coverage:-cov: ?} edges ($log)"
    if [[ ${PBKV_FUZZ_KEEP:-} == 1 ]]; then
        smallest=$(mktemp -d)
        "target/fuzz/$(rustc -vV | sed -n 's/^host: //p')/release/$target" -merge=1 -max_len=4096 \
            "$smallest" "$corpus" "$work" >>"$log" 2>&1
        find "$corpus" -type f ! -name 'found*' -delete
        cp "$smallest"/* "$corpus"
        rm -r "$smallest"
    fi
done
if (( ${#failed[@]} )); then
    echo "fuzz.sh: broken: ${failed[*]}; the inputs are in target/fuzz/found" >&2
    exit 1
fi
