#!/usr/bin/env bash
# Starts a cluster of three, kills the primary in the middle of a stream of appends, and shows that
# every acknowledged append is there exactly once and in order. Leaves nothing running.
set -euo pipefail

readonly APPENDS=500
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp --directory "${TMPDIR:-/tmp}/pbkv-demo.XXXXXX")
dir=$folder/cluster
stream=''

cleanup() {
    local code=$?
    # A child that has not been waited for keeps its pid.
    [[ -z $stream ]] || kill "$stream" 2>/dev/null || true
    "$here/cluster.sh" stop "$dir" 2>/dev/null || true
    case $code in
        0 | 130 | 143) rm --recursive --force "$folder" ;; # Done, or interrupted.
        *) echo "The demo FAILED. Logs are in $folder" >&2 ;;
    esac
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() { echo "demo.sh: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }
until_true() { # TRIES COMMAND ...: tries every 50 ms
    local tries=$1
    shift
    until "$@"; do
        (( --tries > 0 )) || return 1
        sleep 0.05
    done
}
client() { "$bin/client" --view-server "$(<"$dir/view.address")" --deadline 10s "$@"; }
run() { printf '$ client'; printf ' %q' "$@"; echo; client "$@"; }
acknowledged() { (( $(grep --count '^append completed$' "$folder/answers") >= $1 )); }
is_back() { "$here/cluster.sh" status "$dir" | grep --quiet "^$1 [a-z ]*, alive,"; }

say "Building, and starting a view server and three kv servers"
"$here/cluster.sh" start 3 "$dir"
bin=${CARGO_TARGET_DIR:-${here%/*}/target}/release

say "Writing and reading"
run put greeting "hello world"
run append greeting "and the rest"
run get greeting
run view

say "A client appends 1 to $APPENDS to one list; meanwhile the primary is killed"
: >"$folder/answers"
for ((n = 1; n <= APPENDS; n++)); do echo "append stream $n"; sleep 0.005; done |
    "$bin/client" --view-server "$(<"$dir/view.address")" --deadline 10s \
        >"$folder/answers" 2>"$folder/reasons" &
stream=$!
until_true 400 acknowledged $((APPENDS / 3)) || fail "the appends do not get through"
"$here/kill_primary.sh" "$dir" | tee "$folder/killed"
killed=$(sed --quiet 's/^killed: *//p' "$folder/killed")
wait "$stream" || echo "some appends could not be acknowledged: $(sort --unique "$folder/reasons")"
stream=''

say "Comparing what was acknowledged with what is there"
grep --line-number '^append completed$' "$folder/answers" | cut --delimiter=: --fields=1 >"$folder/acknowledged"
client get stream | sed 's/^get stream returned //; s/, /\n/g' >"$folder/list"
(( $(wc --lines <"$folder/answers") == APPENDS )) || fail "not every append was answered"
awk 'NR == FNR { acknowledged[$1]; next } $1 in acknowledged' "$folder/acknowledged" "$folder/list" |
    cmp - "$folder/acknowledged" || fail "an acknowledged append is missing, doubled or misplaced"
[[ -z $(sort "$folder/list" | uniq --repeated) ]] || fail "an append was executed twice"
echo "$(wc --lines <"$folder/acknowledged") appends were acknowledged; each is there exactly once, in order."

say "Bringing $killed back, as an empty spare"
"$here/cluster.sh" restart-server "$killed" "$dir"
until_true 200 is_back "$killed" || fail "$killed is not listed as alive"
"$here/cluster.sh" status "$dir"
run get greeting

say "Stopping everything"
"$here/cluster.sh" stop "$dir"
echo "The demo succeeded."
