#!/usr/bin/env bash
# A cluster on this machine: a view server and N kv servers, on ports that the system chooses.
# Everything it writes lies in DIR. It signals only processes that it started itself: a pid counts
# only together with the start time of its process, so a reused pid is never hit.
set -euo pipefail

usage() {
    cat >&2 <<'END'
usage: cluster.sh start N [DIR]            start N kv servers and a view server
       cluster.sh status [DIR]             who is who, and who is alive
       cluster.sh view [DIR]               only the line "primary: .. backup: .."
       cluster.sh stop [DIR]               end all of them
       cluster.sh kill ID [DIR]            kill -9 one server
       cluster.sh restart-server ID [DIR]  start it again at its address; kill -9 it if it runs
DIR defaults to a folder of your own under $XDG_RUNTIME_DIR or /tmp.
END
    exit 2
}

fail() { echo "cluster.sh: $*" >&2; exit 1; }

birth() { # PID: the start time of a process that runs; nothing for a dead one or a zombie
    local stat fields
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[0]} == [ZX] ]] || echo "${fields[19]}"
}

pid_of() { # NAME: its pid, if the process that was started here still runs
    local pid born
    { read -r pid born <"$dir/$1.pid"; } 2>/dev/null || return 1
    [[ -n $born && $(birth "$pid") == "$born" ]] && echo "$pid"
}

names() { local file; for file in "$dir"/*.pid; do [[ ! -e $file ]] || basename "$file" .pid; done; }

launch() { # NAME PROGRAM [FLAG ...]: starts a server and waits until it can be reached
    local name=$1 program=$2 pid address='' stdin="$dir/$1.in"
    shift 2
    [[ -p $stdin ]] || mkfifo "$stdin"
    : >"$dir/$name.log" # What a former process wrote here says nothing of this one.
    # Opened for reading and writing, the pipe never ends and never blocks whoever opens it.
    RUST_LOG="${RUST_LOG:-info},pbkv::cli=info" setsid "$bin/$program" "$@" \
        <>"$stdin" >"$dir/$name.out" 2>"$dir/$name.log" &
    pid=$!
    echo "$pid $(birth "$pid")" >"$dir/$name.pid"
    until [[ -n $address ]]; do
        address=$(sed --quiet '/listening on/{s/.*listening on \([^ ]*\).*/\1/p;q}' "$dir/$name.log")
        [[ -n $address ]] || pid_of "$name" >/dev/null ||
            fail "$name has not started: $(<"$dir/$name.log")"
        [[ -n $address ]] || sleep 0.02
    done
    echo "$address" >"$dir/$name.address"
}

launch_named() { # NAME ADDRESS
    if [[ $1 == view ]]; then
        launch view viewserver --listen "$2" --state "$dir/view.state.json"
    else
        launch "$1" kvserver "$1" --listen "$2" --view-server "$(<"$dir/view.address")"
    fi
}

view() { "$bin/client" --view-server "$(<"$dir/view.address")" --deadline 2s view; }

kill_server() { # NAME: kill -9, and wait until it is gone
    local pid
    pid=$(pid_of "$1") || fail "$1 does not run in $dir"
    kill -KILL "$pid"
    while pid_of "$1" >/dev/null; do sleep 0.005; done
}

stop() {
    local name pid tries=0
    for name in $(names); do
        if pid=$(pid_of "$name"); then kill -TERM "$pid" 2>/dev/null || true; fi
    done
    for name in $(names); do
        while pid=$(pid_of "$name"); do
            (( ++tries < 250 )) || kill -KILL "$pid" 2>/dev/null || true
            sleep 0.02
        done
        rm --force "$dir/$name.pid" "$dir/$name.in"
    done
}

start() { # N
    local name wanted
    [[ $1 =~ ^[1-9][0-9]?$ ]] || usage
    for name in $(names); do
        ! pid_of "$name" >/dev/null || fail "a cluster runs in $dir; first: $0 stop $dir"
    done
    cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" --bins
    # The data was in the memory of servers that are gone: their record would only wait for them.
    rm --force "$dir"/*.{pid,in,out,log,address} "$dir"/view.state.json*
    trap '[[ $? == 0 ]] || stop' EXIT
    launch_named view 127.0.0.1:0
    for ((i = 1; i <= $1; i++)); do launch_named "s$i" 127.0.0.1:0; done
    wanted='primary: s[0-9]+ backup: s[0-9]+'
    [[ $1 != 1 ]] || wanted='primary: s1 '
    for ((i = 0; i < 100; i++)); do
        [[ $(view 2>/dev/null) =~ $wanted ]] && break
        sleep 0.1
    done
    [[ $(view) =~ $wanted ]] || fail "the servers found no view; see the logs in $dir"
    echo "A view server and $1 kv servers run; logs and state are in $dir"
    echo "Try:  $bin/client --view-server $(<"$dir/view.address") put greeting \"hello world\""
}

status() {
    local before name
    for name in $(names); do
        pid_of "$name" >/dev/null || echo "(the process of $name has ended)"
    done
    pid_of view >/dev/null || fail "no view server runs in $dir"
    view
    before=$(stat --format=%s "$dir/view.out")
    echo status 1<>"$dir/view.in"
    for ((i = 0; i < 500 && $(stat --format=%s "$dir/view.out") == before; i++)); do sleep 0.01; done
    tail --bytes=+$((before + 1)) "$dir/view.out"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${CARGO_TARGET_DIR:-$root/target}/release
case ${1-} in
    start | kill | restart-server) [[ $# == [23] ]] || usage; dir=${3-} ;;
    status | view | stop) [[ $# == [12] ]] || usage; dir=${2-} ;;
    *) usage ;;
esac
dir=${dir:-${XDG_RUNTIME_DIR:-/tmp}/pbkv-$(id --user --name)}
# A folder of somebody else, or a link of his in /tmp, could show us pids and pipes of his choice;
# behind a slash a link looks like a folder.
[[ $dir == / ]] || dir=${dir%/}
if [[ $1 == start && ! -e $dir/.pbkv-cluster ]]; then
    mkdir --parents --mode=700 "$dir"
    [[ -O $dir && ! -L $dir ]] || fail "$dir is not a folder of yours; give another one"
    [[ -z $(ls --almost-all "$dir") ]] || fail "$dir holds other files; give an empty folder"
    touch "$dir/.pbkv-cluster"
fi
[[ -O $dir && ! -L $dir && -O $dir/.pbkv-cluster ]] || fail "no cluster of yours was started in $dir"
case $1 in
    start) start "$2" ;;
    status) status ;;
    view) view ;;
    stop) stop ;;
    kill) kill_server "$2" ;;
    restart-server)
        [[ -e $dir/$2.address ]] || fail "$2 was never started in $dir"
        ! pid_of "$2" >/dev/null || kill_server "$2"
        launch_named "$2" "$(<"$dir/$2.address")"
        ;;
esac
