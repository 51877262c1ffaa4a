#!/bin/sh
# Runs coil's benchmarks and its peers', and prints one result a line: CONTENDER NAME VALUE UNIT.
#
#   perf/run.sh [BUILD_DIRECTORY [SECTION...]]     default: build/release, everything (some 15 minutes)
#
#   single         W1, W2, W3, W6 on one loop: coil alone
#   instructions   what one worker of a runtime costs beside the plain loop: W1 to W3, counted by callgrind on epoll
#   fork_join      W8 beside oneTBB, on one and on two workers
#   cross_thread   W4 beside Tokio and libuv
#   echo           W9 beside plain C on epoll and on io_uring (limits/), libuv and Tokio; 1 and 2 workers; 1, 64 and
#                  1000 connections; allocations, waits and idle connections of coil's server
#   echo_bytes     W9 with messages of 16 KiB and 1 MiB, 16 connections, 1 worker: bandwidth
#   file           W12 beside fio, on a file of 1 GiB in the build directory
#   http           W10 beside nginx, with wrk as the client (http.sh; apt-get install nginx-light wrk)
#   stall          W11 beside libuv and Tokio, two workers each
#
#   ROUNDS=5          rounds of everything that has contenders, who take turns; medians are printed
#   W11_RATE=40000    messages a second
#   BENCH_OPTIONS     given to coil-bench in `single`, such as "--backend epoll"
#   PRIORITY          in front of the commands of what has contenders; "chrt --rr 1" where that is allowed: what else
#                     runs on the machine then disturbs them little
#
# Coil has to be built already; peers are built by peers/build.sh, and left out where that cannot be. At the end are
# the marks that coil has to meet (marks.awk). Results go to stdout, progress to stderr. Nothing else should run on the
# machine meanwhile.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
case ${1-} in
-h | --help)
    sed -n '2,25s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
build=$(cd "${1:-$root/build/release}" && pwd)
[ $# -eq 0 ] || shift
sections=${*:-single instructions fork_join cross_thread echo echo_bytes http stall file}
bin=$build/perf
peers=$bin/peers
rounds=${ROUNDS:-5}
rate=${W11_RATE:-40000}
stalls=640 # a millisecond each: 32 % of two workers
chrt --rr 1 true 2>/dev/null && priority="chrt --rr 1" || priority=
# Whatever hangs must not do so for ever, least of all in real time.
realtime=${PRIORITY-$priority}
priority="timeout --kill-after=5 300 $realtime"
chrt --rr 2 true 2>/dev/null && first="chrt --rr 2" || first=
ulimit -n "$(ulimit -H -n)"
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
    echo "# date:    $(date -u +%Y-%m-%dT%H:%MZ), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
}

# take_turns FUNCTION: $rounds times; each must print lines of results, which end up in $scratch/lines
take_turns()
{
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        echo "# $1: round $round of $rounds" >&2
        "$1" >>"$scratch/lines"
    done
}

# peer PROGRAM ARGUMENTS...: nothing where the program could not be built
peer()
{
    program=$1
    shift
    # shellcheck disable=SC2086 # words
    [ ! -x "$peers/$program" ] || $priority "$peers/$program" "$@"
}

# One round, without counts of allocations.
bench()
{
    # shellcheck disable=SC2086 # words
    $priority "$bin/coil-bench" "$@" --repetitions 1 >"$scratch/bench" 2>"$scratch/errors" || {
        cat "$scratch/errors" >&2
        return 1
    }
    grep -v '\.allocations ' "$scratch/bench"
}

# --- single, fork_join, cross_thread ---

single()
{
    for workload in switch spawn_join queue timers; do
        # shellcheck disable=SC2086 # options are words
        "$bin/coil-bench" "$workload" ${BENCH_OPTIONS:-}
    done
    # Minutes and gigabytes, so fewer rounds.
    # shellcheck disable=SC2086
    "$bin/coil-bench" sleepers --repetitions 3 ${BENCH_OPTIONS:-}
}

fork_join_round()
{
    for workers in 1 2; do
        bench fork_join --workers "$workers"
        peer tbb-peer fork_join "$workers"
        peer tokio-peer fork_join "$workers"
    done
}

cross_thread_round()
{
    bench cross_thread
    for workload in post post_mpsc rtt rtt_1core; do
        peer tokio-peer "$workload"
        [ "$workload" = post_mpsc ] || peer libuv-peer "$workload"
    done
}

# --- instructions ---

# count WORKLOAD DIVIDE OPTIONS...: instructions of the whole program
count()
{
    workload=$1 divide=$2
    shift 2
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bin/coil-bench" "$workload" --backend epoll \
        --repetitions 1 --divide "$divide" "$@" 2>&1 >/dev/null | sed -n 's/^==.*Collected : //p'
}

# What starting takes is in both counts: only the difference of two amounts of work is quoted.
count_workload()
{
    contender=$1 workload=$2
    shift 2
    much=$(count "$workload" 100 "$@")
    little=$(count "$workload" 200 "$@")
    echo "$contender instructions.$workload $((much - little)) instructions"
}

instructions()
{
    if ! command -v valgrind >/dev/null; then
        echo "# instructions skipped: no valgrind" >&2
        return
    fi
    for workload in switch spawn_join queue; do
        echo "# instructions: $workload" >&2
        count_workload coil "$workload"
        count_workload coil-1-worker "$workload" --workers 1
    done
}

# --- servers ---

# start_server COMMAND...: sets $server and $port
start_server()
{
    mkfifo "$scratch/line"
    "$@" >"$scratch/line" &
    server=$!
    read -r line <"$scratch/line"
    rm "$scratch/line"
    port=${line#listening on 127.0.0.1:}
    port=${port%% *}
}

stop_server()
{
    kill "$server"
    # Only coil's server takes a signal as a request; the others die of it.
    wait "$server" 2>/dev/null || case $contender in coil*) false ;; esac
    server=
}

# echo_once CONTENDER NAME CONNECTIONS BYTES SERVER_CORES CLIENT_CORES COMMAND...
echo_once()
{
    contender=$1 name=$2 connections=$3 bytes=$4 server_cores=$5 client_cores=$6
    shift 6
    [ -x "$1" ] || return 0
    # No timeout in front of the server: its processor time is what is measured.
    # shellcheck disable=SC2086 # words
    start_server $realtime taskset -c "$server_cores" "$@"
    [ "$client_cores" = 1 ] && wait=spin || wait=sleep
    # shellcheck disable=SC2086
    $priority taskset -c "$client_cores" "$bin/coil-loadgen" --port "$port" --connections "$connections" \
        --bytes "$bytes" --wait $wait --server-pid "$server" --contender "$contender" --name "$name" --format lines
    stop_server
}

# echo_all SETTING PEERS OPTIONS...: every contender once; PEERS: yes or no; OPTIONS go to all servers
echo_all()
{
    setting=$1 peers_too=$2
    shift 2
    # shellcheck disable=SC2086 # a setting is words
    {
        for limit in raw-epoll raw-uring raw-multishot; do
            echo_once "$limit" $setting "$bin/$limit-echo" "$@"
        done
        echo_once coil $setting "$bin/coil-echo-server" --backend uring --buffer "$buffer" "$@"
        echo_once coil-epoll $setting "$bin/coil-echo-server" --backend epoll --buffer "$buffer" "$@"
        if [ "$peers_too" = yes ]; then
            echo_once libuv $setting "$peers/libuv-peer" echo "$@"
            echo_once tokio $setting "$peers/tokio-peer" echo "$@"
        fi
    }
}

# What coil's server counts: allocations per message, waits per iteration.
echo_counts()
{
    # shellcheck disable=SC2086 # words
    $priority "$bin/coil-bench" echo --repetitions 1 "$@" 2>/dev/null | grep -e '\.allocations ' -e '\.waits'
}

# Contenders take turns, so that a slow minute of the machine does not fall on one of them.
echo_round()
{
    buffer=1024
    echo_all "W9.echo1_1c_1core 1 64 0 0" yes
    for n in 1 64 1000; do
        echo_all "W9.echo1_${n}c $n 64 0 1" yes
        echo_all "W9.echo2_${n}c $n 64 0,1 0,1" yes --workers 2
    done
    for n in 64 1000; do
        echo_counts --connections "$n"
        echo_counts --connections "$n" --workers 2
    done
    # shellcheck disable=SC2086 # words
    $priority "$bin/coil-bench" idle_connections
}

echo_bytes_round()
{
    buffer=65536
    for n in 16384 1048576; do
        echo_all "W9.echo1_16c_${n}b 16 $n 0 1" no
    done
}

# stall_once CONTENDER COMMAND...
# The generator goes first: what the servers do must not make it late, least of all when they compute in real time.
stall_once()
{
    contender=$1
    shift
    [ -x "$1" ] || return 0
    # shellcheck disable=SC2086 # words
    start_server $priority "$@"
    # shellcheck disable=SC2086 # words
    $first "$bin/coil-loadgen" --port "$port" --connections 256 --rate "$rate" --stalls "$stalls" --seconds 5 \
        --contender "$contender" --format lines
    stop_server
}

stall_round()
{
    for ring in defer shared; do
        stall_once "coil-$ring" "$bin/coil-echo-server" --stall --workers 2 --ring "$ring"
    done
    stall_once coil "$bin/coil-echo-server" --stall --workers 2
    stall_once libuv "$peers/libuv-peer" echo --stall --workers 2
    stall_once tokio "$peers/tokio-peer" echo --stall --workers 2
    stall_once coil-epoll "$bin/coil-echo-server" --stall --workers 2 --backend epoll
}

# --- file ---

# fio_once NAME DIRECT DEPTH
fio_once()
{
    # shellcheck disable=SC2086 # words
    $priority fio --name=w12 --filename="$data" --readonly --rw=randread --bs=4k --norandommap --randrepeat=0 \
        --invalidate=0 --ioengine=io_uring --direct="$2" --iodepth="$3" --runtime=1 --time_based \
        --output-format=terse --terse-version=3 |
        awk -F ';' -v name="$1" '{ print "fio", name, $8, "ops/s" }'
}

file_round()
{
    data=$build/perf/w12.data
    [ -f "$data" ] || dd if=/dev/urandom of="$data" bs=1M count=1024 conv=fsync 2>/dev/null
    bench file --file "$data"
    if ! command -v fio >/dev/null; then
        echo "# fio skipped: not installed" >&2
        return
    fi
    for depth in 1 16 128; do
        fio_once "W12.file.direct_qd$depth" 1 "$depth"
        fio_once "W12.file.cached_qd$depth" 0 "$depth"
    done
}

# Lines of several rounds: the median of each, with the least and the greatest as a comment.
medians()
{
    sort -k 1,2 -k 3n "$scratch/lines" | awk '
        function flush_group() {
            if (n) printf "%s %s %s\t# min %s, max %s, %d rounds\n", key, v[int((n + 1) / 2)], unit, v[1], v[n], n
        }
        { if ($1 " " $2 != key) { flush_group(); n = 0; key = $1 " " $2 } v[++n] = $3; unit = $4 }
        END { flush_group() }'
}

describe
sh "$root/perf/peers/build.sh" "$build"
: >"$scratch/lines"
for section in $sections; do
    case $section in
    single) single ;;
    instructions) instructions >>"$scratch/lines" ;;
    http) sh "$root/perf/http.sh" "$build" "$rounds" >>"$scratch/lines" || [ $? -eq 77 ] ;;
    fork_join | cross_thread | echo | echo_bytes | stall | file) take_turns "${section}_round" ;;
    *)
        echo "$0: no such section: $section" >&2
        exit 2
        ;;
    esac
done
medians | tee "$scratch/medians"
awk -f "$root/perf/marks.awk" "$scratch/medians"
