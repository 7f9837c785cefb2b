#!/usr/bin/env bash
# Finds who is primary in a cluster that cluster.sh started, kill -9's it, and waits for the view
# in which another server has taken over.
set -euo pipefail

if (( $# > 1 )) || [[ ${1-} == -* ]]; then
    echo "usage: kill_primary.sh [DIR]     the DIR given to cluster.sh start" >&2
    exit 2
fi
cluster=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/cluster.sh

view=$("$cluster" view "$@")
primary=$(sed --quiet 's/^primary: \([^ ]*\) .*/\1/p' <<<"$view")
echo "before:  $view"
if [[ -z $primary || $primary == none ]]; then
    echo "kill_primary.sh: there is no primary to kill" >&2
    exit 1
fi

"$cluster" kill "$primary" "$@"
echo "killed:  $primary"
start=$(date +%s%N)
while (( $(date +%s%N) - start < 20 * 10 ** 9 )); do
    view=$("$cluster" view "$@" 2>/dev/null || true)
    if [[ $view == "primary: "* && $view != "primary: none "* && $view != "primary: $primary "* ]]; then
        echo "after:   $view   (seen $((($(date +%s%N) - start) / 10 ** 6)) ms after the kill)"
        exit 0
    fi
    sleep 0.02
done
echo "kill_primary.sh: nobody has taken over within 20 s: $view" >&2
exit 1
