#!/usr/bin/env bash
# What keys cost: replicated puts at 64 clients, with and without --key-file, in turns on this machine.
# usage: bench_keys.sh [--rounds N] [--seconds S]; PBKV_RELEASE=FOLDER takes programs that are built
set -euo pipefail
rounds=5 seconds=4
while (($#)); do
    case $1 in
        --rounds) rounds=$2; shift 2 ;;
        --seconds) seconds=$2; shift 2 ;;
        *) sed -n '2,3s/^# //p' "$0"; [[ $1 == --help ]] && exit 0; exit 2 ;;
    esac
done
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${PBKV_RELEASE:-}
if [[ -z $bin ]]; then
    cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" --bins
    bin=${CARGO_TARGET_DIR:-$root/target}/release
fi
dir=$(mktemp -d)
pids=()
end() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; pids=(); }
trap 'end; rm -rf "$dir"' EXIT
(umask 077 && "$bin/client" keygen > "$dir/keys")

# Starts a program with these flags; where it listens stands in `address`.
launch() {
    "$@" < /dev/null > /dev/null 2> "$dir/log" &
    pids+=("$!")
    until address=$(grep -o 'listening on [0-9.:]*' "$dir/log"); do sleep 0.02; done
    address=${address##* }
}

# One cluster and one load on it; prints puts a second.
measure() {
    launch "$bin/viewserver" --listen 127.0.0.1:0 --state none "$@"
    local view=$address
    for id in s1 s2; do
        launch "$bin/kvserver" "$id" --listen 127.0.0.1:0 --view-server "$view" "$@"
    done
    local client=("$bin/client" --view-server "$view" "$@")
    until [[ $("${client[@]}" view 2>/dev/null) == *"backup: s"* ]]; do sleep 0.05; done
    "${client[@]}" bench --clients 64 --gets 0% --seconds "$seconds" --quiet --json \
        | grep -o '"per_second":[0-9.]*' | head -n 1 | cut -d : -f 2 > "$dir/rate"
    end
    cat "$dir/rate"
}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for ((round = 1; round <= rounds; round++)); do
    measure >> "$dir/clear"
    measure --key-file "$dir/keys" >> "$dir/sealed"
    echo "round $round: $(tail -n 1 "$dir/clear") puts/s without keys, $(tail -n 1 "$dir/sealed") with keys"
done
awk -v clear="$(median "$dir/clear")" -v sealed="$(median "$dir/sealed")" 'BEGIN {
    printf "median: %.0f without keys, %.0f with keys: keys cost %.1f %%\n",
        clear, sealed, 100 * (1 - sealed / clear) }'
