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
    local log
    log=$(mktemp "$dir/log.XXXXXX")
    "$@" < /dev/null > /dev/null 2> "$log" &
    pids+=("$!")
    until address=$(grep -o 'listening on [0-9.:]*' "$log"); do sleep 0.02; done
    address=${address##* }
}

# Processor time of all servers so far, in hundredths of a second.
busy() { for pid in "${pids[@]}"; do cat "/proc/$pid/stat"; done | awk '{ sum += $14 + $15 } END { print sum }'; }

# One cluster and one load on it; prints puts a second, and microseconds of the servers a put.
measure() {
    launch "$bin/viewserver" --listen 127.0.0.1:0 --state none "$@"
    local view=$address
    for id in s1 s2; do
        launch "$bin/kvserver" "$id" --listen 127.0.0.1:0 --view-server "$view" "$@"
    done
    local client=("$bin/client" --view-server "$view" "$@")
    until [[ $("${client[@]}" view 2>/dev/null) == *"backup: s"* ]]; do sleep 0.05; done
    local before; before=$(busy)
    "${client[@]}" bench --clients 64 --gets 0% --seconds "$seconds" --quiet --json > "$dir/json"
    local asked rate
    asked=$(grep -o '"asked":[0-9]*' "$dir/json" | cut -d : -f 2)
    rate=$(grep -o '"per_second":[0-9]*' "$dir/json" | head -n 1 | cut -d : -f 2)
    awk -v rate="$rate" -v ticks=$(($(busy) - before)) -v asked="$asked" \
        'BEGIN { printf "%d %.2f\n", rate, ticks * 10000 / asked }' > "$dir/told"
    end
    cat "$dir/told"
}

median() { cut -d ' ' -f "$2" "$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for ((round = 1; round <= rounds; round++)); do
    measure >> "$dir/clear"
    measure --key-file "$dir/keys" >> "$dir/sealed"
    echo "round $round, puts/s and us/put: $(tail -n 1 "$dir/clear") without keys, $(tail -n 1 "$dir/sealed") with"
done
for which in 1 2; do
    awk -v clear="$(median "$dir/clear" $which)" -v sealed="$(median "$dir/sealed" $which)" -v which=$which 'BEGIN {
        split("puts a second;microseconds of the servers a put", what, ";")
        printf "median %s: %s without keys, %s with keys: %+.1f %%\n",
            what[which], clear, sealed, 100 * (sealed / clear - 1) }'
done
