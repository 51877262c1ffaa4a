#!/bin/sh
# Runs coil's benchmarks one after the other, and prints one result a line: CONTENDER NAME VALUE UNIT.
#
#   perf/run.sh [BUILD_DIRECTORY]          default: build/release; builds nothing
#
#   BENCH_OPTIONS   given to coil-bench, such as "--backend epoll"
#   ECHO_ROUNDS     rounds of the echo measurement, of which medians are printed (default 5)
#
# Results go to stdout, progress to stderr. Nothing else should run on the machine meanwhile.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$root/build/release}
bin=$build/perf
rounds=${ECHO_ROUNDS:-5}
scratch=$(mktemp -d)
server=

finish()
{
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' INT TERM

describe()
{
    echo "# machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, Linux $(uname -r)"
    echo "# commit:  $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)"
    echo "# date:    $(date -u +%Y-%m-%dT%H:%MZ)"
}

# start_server CORE COMMAND...: sets $server and $port
start_server()
{
    core=$1
    shift
    mkfifo "$scratch/line"
    taskset -c "$core" "$@" >"$scratch/line" &
    server=$!
    read -r line <"$scratch/line"
    rm "$scratch/line"
    port=${line#listening on 127.0.0.1:}
    port=${port%% *}
}

stop_server()
{
    kill "$server"
    wait "$server" || [ "$contender" = raw-epoll ] # which knows no signals
    server=
}

# echo_once CONTENDER NAME CONNECTIONS SERVER_CORE CLIENT_CORE COMMAND...
echo_once()
{
    contender=$1 name=$2 connections=$3 server_core=$4 client_core=$5
    shift 5
    echo "# $name: $contender" >&2
    start_server "$server_core" "$@"
    taskset -c "$client_core" "$bin/coil-loadgen" --port "$port" --connections "$connections" --server-pid "$server" \
        --contender "$contender" --name "$name" --format lines
    stop_server
}

# Contenders take turns, so that a slow minute of the machine does not fall on one of them.
echo_round()
{
    for setting in "W9.echo1_1c_1core 1 0 0" "W9.echo1_64c 64 0 1" "W9.echo1_1000c 1000 0 1"; do
        # shellcheck disable=SC2086 # split on purpose
        echo_once raw-epoll $setting "$bin/raw-epoll-echo"
        # shellcheck disable=SC2086
        echo_once coil $setting "$bin/coil-echo-server" --backend uring
        # shellcheck disable=SC2086
        echo_once coil-epoll $setting "$bin/coil-echo-server" --backend epoll
    done
}

# Lines of several rounds: the median of each, with the least and the greatest as a comment.
medians()
{
    sort -k 1,2 -k 3n | awk '
        function flush_group() {
            if (n) printf "%s %s %s\t# min %s, max %s, %d rounds\n", key, v[int((n + 1) / 2)], unit, v[1], v[n], n
        }
        { if ($1 " " $2 != key) { flush_group(); n = 0; key = $1 " " $2 } v[++n] = $3; unit = $4 }
        END { flush_group() }'
}

describe
for workload in switch spawn_join queue timers; do
    # shellcheck disable=SC2086 # options are words
    "$bin/coil-bench" "$workload" ${BENCH_OPTIONS:-}
done
# Minutes and gigabytes, so fewer rounds.
# shellcheck disable=SC2086
"$bin/coil-bench" sleepers --repetitions 3 ${BENCH_OPTIONS:-}

round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    echo "# echo: round $round of $rounds" >&2
    echo_round
done >"$scratch/echo"
medians <"$scratch/echo"
